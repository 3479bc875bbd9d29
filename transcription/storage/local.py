"""The storage on the local disk, or on a volume that is mounted on all machines."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from transcription.storage.base import FileKey, FileKind, StoredTask
from whisperhub.disk import occupied_bytes

logger = logging.getLogger(__name__)

# The umask of `settings` takes the group's part away, unless a group shares the media.
FOLDER_MODE: Final = 0o770


@dataclass(frozen=True)
class LocalStorage:
    """One folder for each task, spread over 256 folders.

    Files grow beside the place where they will be kept, as `<kind>.<random>.part`, so
    that keeping one is a rename, and what a killed process leaves behind goes with its
    task at the latest.

    Attributes:
        root: the folder of all task folders; made with the first of them.
        volume: a folder that is there, whose free space counts.
    """

    root: Path
    volume: Path

    @contextmanager
    def scratch(self, key: FileKey) -> Iterator[Path]:
        """A path beside the one that `key` stands for."""
        self._make_folder(key.task_id)
        part = self._new_part(key)
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def keep(self, key: FileKey, path: Path) -> int:
        """Rename a file, or copy one that lies on another volume."""
        size = path.stat().st_size
        target = self.path_of(key)
        # The scratch file of a deleted task went with its folder, which is not to
        # come back.
        if path.parent != target.parent:
            self._make_folder(key.task_id)
        try:
            path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self.scratch(key) as part:
                # With its mode.
                shutil.copy(path, part)
                part.replace(target)
            path.unlink()
        return size

    def write(self, key: FileKey, content: bytes) -> None:
        """Write, synchronise and rename a file in a folder that is there already."""
        part = self._new_part(key)
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path_of(key))
        finally:
            part.unlink(missing_ok=True)
        _synchronise(self.folder_of(key.task_id))

    @contextmanager
    def local_path(self, key: FileKey) -> Iterator[Path]:
        """The file itself."""
        path = self.path_of(key)
        path.stat()
        yield path

    def open(self, key: FileKey) -> BinaryIO:
        """The file itself."""
        return self.path_of(key).open("rb")

    def exists(self, key: FileKey) -> bool:
        """Whether the file is there."""
        return self.path_of(key).exists()

    def occupied_bytes(self, key: FileKey) -> int:
        """The blocks of the file."""
        return occupied_bytes(self.path_of(key))

    def discard(self, task_id: uuid.UUID, *, keep: Collection[FileKind] = ()) -> None:
        """Delete the folder, or all but some files in it."""
        folder = self.folder_of(task_id)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                logger.warning("Task %s: its files could not all be deleted", task_id)
            return
        for kind in FileKind:
            if kind not in keep:
                _delete(task_id, folder / kind)
        self.discard_unfinished(task_id)
        # Something is kept in it, or it is gone already.
        with suppress(OSError):
            folder.rmdir()

    def discard_unfinished(self, task_id: uuid.UUID) -> None:
        """Delete the `.part` files in the task's folder."""
        for part in self.folder_of(task_id).glob("*.part"):
            _delete(task_id, part)

    def tasks(self) -> Iterator[StoredTask]:
        """Every task folder, with the time of its last change."""
        for path in self.root.glob("??/*"):
            try:
                yield StoredTask(uuid.UUID(path.name), path.stat().st_mtime)
            except (ValueError, FileNotFoundError):
                continue

    def free_bytes(self) -> int:
        """Free space on the volume."""
        return shutil.disk_usage(self.volume).free

    def folder_of(self, task_id: uuid.UUID) -> Path:
        """The folder of a task, made or not."""
        name = str(task_id)
        return self.root / name[:2] / name

    def path_of(self, key: FileKey) -> Path:
        """Where a file is kept."""
        return self.folder_of(key.task_id) / key.kind

    def _make_folder(self, task_id: uuid.UUID) -> None:
        self.folder_of(task_id).mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)

    def _new_part(self, key: FileKey) -> Path:
        # Two processes may work on a task for a moment, so each attempt has its own.
        path = self.path_of(key)
        return path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")


def _delete(task_id: uuid.UUID, path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning(
            "Task %s: %s not deleted, %s", task_id, path.name, error.strerror
        )


def _synchronise(folder: Path) -> None:
    """Have a new name in a folder survive a loss of power."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
