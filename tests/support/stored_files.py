"""What is stored of a task, looked at and written by tests, in whatever storage."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.memory_storage import MemoryStorage
from transcription import storage
from transcription.storage import FileKey, FileKind, LocalStorage

# For a test of `each_storage` that is about folders.
ON_DISK = pytest.mark.parametrize("each_storage", ["local"], indirect=True)


def tasks_root() -> Path:
    """The folder that the local storage makes with its first file."""
    files = storage.current()
    assert isinstance(files, LocalStorage)
    return files.root


@dataclass(frozen=True)
class StoredFile:
    """One file of a task."""

    key: FileKey

    @property
    def path(self) -> Path:
        """Where the local storage has it."""
        files = storage.current()
        assert isinstance(files, LocalStorage)
        return files.path_of(self.key)

    def exists(self) -> bool:
        return storage.current().exists(self.key)

    def read_bytes(self) -> bytes:
        with storage.current().open(self.key) as file:
            return file.read()

    def write_bytes(self, content: bytes) -> None:
        files = storage.current()
        with files.scratch(self.key) as path:
            path.write_bytes(content)
            files.keep(self.key, path)


@dataclass(frozen=True)
class TaskFiles:
    """The files of one task."""

    public_id: uuid.UUID

    @property
    def original(self) -> StoredFile:
        return StoredFile(FileKey(self.public_id, FileKind.ORIGINAL))

    @property
    def samples(self) -> StoredFile:
        return StoredFile(FileKey(self.public_id, FileKind.SAMPLES))

    @property
    def result(self) -> StoredFile:
        return StoredFile(FileKey(self.public_id, FileKind.RESULT))

    @property
    def path(self) -> Path:
        """The folder of the local storage."""
        return self.original.path.parent

    def create(self) -> None:
        """Have an empty folder, where the storage has folders."""
        if isinstance(storage.current(), LocalStorage):
            self.path.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """What is stored, and in a folder also what grows there."""
        files = storage.current()
        if isinstance(files, LocalStorage):
            return sorted(path.name for path in self.path.glob("*"))
        kinds = (
            kind for kind in FileKind if files.exists(FileKey(self.public_id, kind))
        )
        return sorted(kinds)

    def exist(self) -> bool:
        """Whether anything is there, be it an empty folder."""
        if isinstance(storage.current(), LocalStorage):
            return self.path.exists()
        return bool(self.names())

    def discard(self) -> None:
        storage.current().discard(self.public_id)

    def make_old(self, hours: float) -> None:
        """Have them last changed so long ago."""
        moment = time.time() - hours * 3600
        files = storage.current()
        if isinstance(files, MemoryStorage):
            files.changed_at[self.public_id] = moment
        else:
            os.utime(self.path, (moment, moment))
