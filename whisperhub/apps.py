"""The wiring as an app of Django."""

from __future__ import annotations

import logging

from django.apps import AppConfig

from whisperhub import private_files

logger = logging.getLogger(__name__)


class WhisperHubConfig(AppConfig):
    """Registers the checks of settings and says what was closed before there was a log.

    Nothing is opened or written here.
    """

    name = "whisperhub"

    def ready(self) -> None:
        """Called once in each process."""
        from whisperhub import checks  # noqa: F401

        while private_files.notes:
            logger.warning("%s", private_files.notes.pop(0))
