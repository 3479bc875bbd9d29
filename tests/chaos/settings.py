"""Settings of a service under test: its jobs can be held, some recordings are deadly.

What else it needs comes in WHISPERHUB_* variables; see tests/chaos/service.py.
"""

from __future__ import annotations

from tests.chaos.deadly import dying_of_deadly_files
from transcription.engines import registry
from transcription.media import decode
from whisperhub.settings import *  # noqa: F403

registry.FACTORIES["faster-whisper"] = "tests.chaos.deadly.create_engine"
decode.decode_to_samples = dying_of_deadly_files(decode.decode_to_samples)
