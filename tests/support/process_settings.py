"""Settings of worker processes in tests: the test database, engines that can be held.

What else they need comes in WHISPERHUB_* variables; see tests/support/fleet.py.
"""

from __future__ import annotations

import os
from dataclasses import replace

from transcription.engines.spec import ENGINES
from whisperhub.settings import *  # noqa: F403
from whisperhub.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.held_work"]

DATABASES["default"]["NAME"] = os.environ["TESTS_DATABASE_NAME"]

ENGINES["faster-whisper"] = replace(
    ENGINES["faster-whisper"], factory="tests.support.engines.create_held"
)
