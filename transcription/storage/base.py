"""What a storage of media does, whatever it keeps them on.

A file is named by its task and its kind alone. Nobody outside this package knows where
it lies: rows and messages carry no path, and a path that a storage gives out is good
for the body of the `with` statement that asked for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol


class FileKind(StrEnum):
    """The files that a task may have; the value is the name in the storage."""

    # The media as it came, without any extension of the client's.
    ORIGINAL = "original"
    # Decoded audio: 16 kHz, mono, little-endian int16, no header.
    SAMPLES = "samples.s16le"
    # A result that the database could not take yet.
    RESULT = "result"


@dataclass(frozen=True)
class FileKey:
    """Names one file of one task.

    Attributes:
        task_id: the task's public id.
        kind: which of its files.
    """

    task_id: uuid.UUID
    kind: FileKind


@dataclass(frozen=True)
class StoredTask:
    """A task of which something is stored.

    Attributes:
        task_id: its public id.
        changed_at: when a file of it came or went last, in seconds since the epoch.
    """

    task_id: uuid.UUID
    changed_at: float


class Storage(Protocol):
    """Keeps the files of tasks; any thread and any process may use it.

    A file appears whole or not at all, and is never changed: a later one with the same
    key takes its place. Every method that does not delete may raise OSError.
    """

    def scratch(self, key: FileKey) -> AbstractContextManager[Path]:
        """A path of this process alone, at which the content of a file may grow.

        Nothing is there yet. What is still there at the end is deleted.
        """
        ...

    def keep(self, key: FileKey, path: Path) -> int:
        """Take a local file in; it is gone from its path afterwards.

        Cheap if it grew at a `scratch` path or in the folder of uploads.

        Returns:
            Its size in bytes.
        """
        ...

    def write(self, key: FileKey, content: bytes) -> None:
        """Store a small file of a task, so that it survives a loss of power.

        Raises:
            FileNotFoundError: nothing is stored of the task: it was deleted.
        """
        ...

    def local_path(self, key: FileKey) -> AbstractContextManager[Path]:
        """A local file with the content, to read or to map, for the body alone.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...

    def open(self, key: FileKey) -> BinaryIO:
        """The content as a stream, to be closed by the caller.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...

    def exists(self, key: FileKey) -> bool:
        """Whether there is such a file."""
        ...

    def occupied_bytes(self, key: FileKey) -> int:
        """The room that a file takes, its holes left out; 0 if there is none."""
        ...

    def discard(self, task_id: uuid.UUID, *, keep: Collection[FileKind] = ()) -> None:
        """Delete everything of a task but these kinds of files.

        What cannot be deleted is logged and stays.
        """
        ...

    def discard_unfinished(self, task_id: uuid.UUID) -> None:
        """Delete what processes that were killed had begun to write for a task."""
        ...

    def tasks(self) -> Iterator[StoredTask]:
        """Every task of which something is stored."""
        ...

    def free_bytes(self) -> int:
        """The room that is left."""
        ...


def original_of(task_id: uuid.UUID) -> FileKey:
    """The key of a task's media as it came."""
    return FileKey(task_id, FileKind.ORIGINAL)


def samples_of(task_id: uuid.UUID) -> FileKey:
    """The key of a task's decoded audio."""
    return FileKey(task_id, FileKind.SAMPLES)


def result_of(task_id: uuid.UUID) -> FileKey:
    """The key of a task's result that the database could not take yet."""
    return FileKey(task_id, FileKind.RESULT)
