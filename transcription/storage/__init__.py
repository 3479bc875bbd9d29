"""The files of tasks: the one place in the product that knows where they lie."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from transcription.storage.base import (
    FileKey,
    FileKind,
    Storage,
    StoredTask,
    original_of,
    result_of,
    samples_of,
)
from transcription.storage.local import LocalStorage
from transcription.storage.uploads import keep_upload, sha256_of, unfinished_uploads

__all__ = [
    "FileKey",
    "FileKind",
    "LocalStorage",
    "Storage",
    "StoredTask",
    "current",
    "keep_upload",
    "original_of",
    "result_of",
    "samples_of",
    "sha256_of",
    "unfinished_uploads",
]


def current() -> Storage:
    """The storage in use."""
    volume = Path(settings.MEDIA_ROOT)
    return LocalStorage(volume / "tasks", volume)
