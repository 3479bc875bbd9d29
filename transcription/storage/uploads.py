"""Uploads, from the folder they grow in to the storage.

Their bytes grow in files of the web process that receives them, on a disk of its own
machine: the folder of Django's FILE_UPLOAD_TEMP_DIR. It lies on the media volume, so
that the local storage takes an upload in by a rename.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile

from transcription.storage.base import FileKey, Storage


def keep_upload(storage: Storage, key: FileKey, upload: UploadedFile[Any]) -> int:
    """Store an upload, whose own file is gone afterwards.

    Returns:
        Its size in bytes.
    """
    if isinstance(upload, TemporaryUploadedFile):
        return _keep(storage, key, Path(upload.temporary_file_path()))
    with storage.scratch(key) as path:
        with path.open("wb") as file:
            for chunk in upload.chunks():
                file.write(chunk)
        return _keep(storage, key, path)


def _keep(storage: Storage, key: FileKey, path: Path) -> int:
    # An upload grows in a file of one user's, which a group may share from now on.
    path.chmod(settings.FILE_UPLOAD_PERMISSIONS)
    return storage.keep(key, path)


def sha256_of(upload: UploadedFile[Any]) -> str:
    """The digest of an upload, taken as its bytes came in, or from the stored ones."""
    noted: str = getattr(upload, "sha256", "")
    if noted:
        return noted
    digest = hashlib.sha256()
    for chunk in upload.chunks():
        digest.update(chunk)
    upload.sha256 = digest.hexdigest()  # type: ignore[attr-defined]
    return digest.hexdigest()


@dataclass(frozen=True)
class UnfinishedUpload:
    """A file that grows, or that a request left behind which was never answered."""

    path: Path

    def discard_if_unchanged_since(self, moment: float) -> bool:
        """Delete it, unless it has grown or gone meanwhile.

        Args:
            moment: in seconds since the epoch.

        Returns:
            Whether it was deleted.
        """
        try:
            if self.path.stat().st_mtime >= moment:
                return False
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True


def unfinished_uploads() -> Iterator[UnfinishedUpload]:
    """Every upload on this machine that no task has taken."""
    for path in Path(str(settings.FILE_UPLOAD_TEMP_DIR)).iterdir():
        yield UnfinishedUpload(path)
