"""A storage that is no folder: what uses it can rely on the protocol alone."""

from __future__ import annotations

import io
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from transcription.storage import FileKey, FileKind, StoredTask


class MemoryStorage:
    """Keeps files as bytes, and hands out copies in temporary folders.

    A copy is gone when its `with` statement ends, so that a caller which goes on using
    the path fails.

    Args:
        folder: where the temporary folders are made.
    """

    def __init__(self, folder: Path) -> None:
        self.files: dict[FileKey, bytes] = {}
        self.changed_at: dict[uuid.UUID, float] = {}
        self._folder = folder
        self._lock = threading.Lock()

    @contextmanager
    def scratch(self, key: FileKey) -> Iterator[Path]:
        """A path in a new folder."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield folder / "scratch"
        finally:
            shutil.rmtree(folder)

    def keep(self, key: FileKey, path: Path) -> int:
        """Read the file and delete it."""
        content = path.read_bytes()
        self._put(key, content)
        path.unlink()
        return len(content)

    def write(self, key: FileKey, content: bytes) -> None:
        """Store the content, unless the task was deleted."""
        with self._lock:
            known = key.task_id in {stored.task_id for stored in self.files}
        if not known:
            raise FileNotFoundError(2, "Nothing of the task is stored")
        self._put(key, content)

    @contextmanager
    def local_path(self, key: FileKey) -> Iterator[Path]:
        """A copy."""
        content = self._content(key)
        with self.scratch(key) as path:
            path.write_bytes(content)
            yield path

    def open(self, key: FileKey) -> BinaryIO:
        """The bytes."""
        return io.BytesIO(self._content(key))

    def exists(self, key: FileKey) -> bool:
        """Whether there are bytes."""
        return key in self.files

    def occupied_bytes(self, key: FileKey) -> int:
        """How many there are."""
        return len(self.files.get(key, b""))

    def discard(self, task_id: uuid.UUID, *, keep: Collection[FileKind] = ()) -> None:
        """Forget them."""
        with self._lock:
            for key in list(self.files):
                if key.task_id == task_id and key.kind not in keep:
                    del self.files[key]
            self.changed_at[task_id] = time.time()

    def discard_unfinished(self, task_id: uuid.UUID) -> None:
        """Nothing: what grows is no part of the storage."""

    def tasks(self) -> Iterator[StoredTask]:
        """The tasks of all keys."""
        for task_id in {key.task_id for key in list(self.files)}:
            yield StoredTask(task_id, self.changed_at[task_id])

    def free_bytes(self) -> int:
        """As much as a large disk has."""
        return 2**45

    def _content(self, key: FileKey) -> bytes:
        try:
            return self.files[key]
        except KeyError:
            raise FileNotFoundError(2, "There is no such file") from None

    def _put(self, key: FileKey, content: bytes) -> None:
        with self._lock:
            self.files[key] = content
            self.changed_at[key.task_id] = time.time()
