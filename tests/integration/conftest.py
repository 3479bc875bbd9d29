"""What tests with a database or files on the media volume may ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A media volume of its own for each test."""
    root = tmp_path_factory.mktemp("media")
    incoming = root / "incoming"
    incoming.mkdir(parents=True)
    settings.MEDIA_ROOT = root
    settings.FILE_UPLOAD_TEMP_DIR = incoming
    return root


@pytest.fixture
def no_hints(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hints are noted in this list and go nowhere."""
    sent: list[int] = []

    def note(task_id: int) -> bool:
        sent.append(task_id)
        return True

    monkeypatch.setattr("transcription.services.hints.send_hint", note)
    return sent
