"""Where the files of a task live: one folder each on the media volume.

Paths follow from the task's public id alone, so that no row and no message carries one.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile

# The umask of `settings` takes the group's part away, unless a group shares the media.
FOLDER_MODE = 0o770


@dataclass(frozen=True)
class TaskFolder:
    """The files of one task.

    Attributes:
        public_id: the task's public id.
    """

    public_id: uuid.UUID

    @property
    def path(self) -> Path:
        """The folder; its siblings are spread over 256 folders."""
        name = str(self.public_id)
        return tasks_root() / name[:2] / name

    @property
    def original(self) -> Path:
        """The media as it came, without any extension of the client's."""
        return self.path / "original"

    @property
    def samples(self) -> Path:
        """Decoded audio: 16 kHz, mono, little-endian int16, no header."""
        return self.path / "samples.s16le"

    @property
    def result(self) -> Path:
        """A result that the database could not take yet."""
        return self.path / "result"

    @property
    def unfinished_result(self) -> Path:
        """The same while it is written."""
        return self.path / "result.part"

    def new_part(self) -> Path:
        """Where the original may grow; of every attempt its own."""
        return self.path / f"{self.original.name}.{secrets.token_hex(8)}.part"

    def create(self) -> None:
        """Make the folder."""
        self.path.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)

    def take_upload(self, upload: UploadedFile[Any]) -> int:
        """Move an upload in as the original and return its size in bytes.

        A rename where the upload already lies on the media volume.
        """
        self.create()
        if isinstance(upload, TemporaryUploadedFile):
            shutil.move(upload.temporary_file_path(), self.original)
        else:
            with self.original.open("wb") as file:
                for chunk in upload.chunks():
                    file.write(chunk)
        # An upload grows in a file of one user's.
        self.original.chmod(settings.FILE_UPLOAD_PERMISSIONS)
        return self.original.stat().st_size

    def discard_parts(self) -> None:
        """Delete what somebody who was killed had begun to write."""
        for part in self.path.glob("*.part"):
            part.unlink(missing_ok=True)

    def discard_original(self) -> None:
        """Delete the media as it came."""
        self.original.unlink(missing_ok=True)

    def discard_samples(self) -> None:
        """Delete what came of the media, and the folder if nothing else is in it."""
        for made in (self.result, self.samples):
            made.unlink(missing_ok=True)
        self.discard_parts()
        try:
            self.path.rmdir()
        except OSError:
            pass  # The original is kept, or the folder is gone already.

    def discard(self) -> None:
        """Delete everything of the task."""
        shutil.rmtree(self.path, ignore_errors=True)


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


def tasks_root() -> Path:
    """The folder of all task folders."""
    return Path(settings.MEDIA_ROOT) / "tasks"


def incoming_root() -> Path:
    """Where uploads grow until their task takes them."""
    return Path(settings.FILE_UPLOAD_TEMP_DIR)


def free_bytes() -> int:
    """Free space on the media volume."""
    return shutil.disk_usage(incoming_root()).free


def task_folders() -> Iterator[tuple[TaskFolder, float]]:
    """Every task folder on the volume, with the moment of its last change."""
    for path in tasks_root().glob("??/*"):
        try:
            yield TaskFolder(uuid.UUID(path.name)), path.stat().st_mtime
        except (ValueError, FileNotFoundError):
            continue
