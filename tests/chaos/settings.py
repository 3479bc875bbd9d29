"""Settings of a service under test: its jobs can be held, some recordings are deadly.

What else it needs comes in WHISPERHUB_* variables; see tests/chaos/service.py.
"""

from __future__ import annotations

from dataclasses import replace

from transcription.engines.spec import ENGINES
from transcription.media import decoder
from whisperhub.settings import *  # noqa: F403

ENGINES["faster-whisper"] = replace(
    ENGINES["faster-whisper"], factory="tests.chaos.deadly.create_engine"
)
decoder.PROGRAM = "tests.chaos.decoder_process"
