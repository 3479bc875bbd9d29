"""Who may read what the service writes: its own user, and nobody else.

Folders that an earlier release, or an operator, left open are closed when a process
starts. What was closed is kept in `notes` until there is a log to say it in.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PRIVATE_UMASK: Final = 0o077
# The group of a shared media folder reads and writes there; others see nothing.
GROUP_UMASK: Final = 0o007
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
# With the setgid bit what is made inside belongs to the group as well.
GROUP_FOLDER_MODE: Final = 0o2770
GROUP_FILE_MODE: Final = 0o660
FOR_OTHERS: Final = 0o077

# Sentences for the log of the process that has closed something.
notes: list[str] = []


def make_own_folder(path: Path, *, group: int | None = None) -> None:
    """Make a folder for us alone, or close one that is there.

    Args:
        path: the folder.
        group: the number of a group that shares it; None: nobody does.

    Raises:
        OSError: it cannot be made.
        ValueError: it belongs to another user, or its group cannot be set.
    """
    path.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise ValueError(f"{path} is no folder.")
    if found.st_uid != os.geteuid():
        if group is not None and _is_shared(found, group):
            return
        raise ValueError(
            f"{path} belongs to user {found.st_uid}, and this process runs as user "
            f"{os.geteuid()}. Name a folder inside it that does not exist yet, give it "
            f"to this user (chown {os.geteuid()}), or run as its owner."
        )
    if group is None:
        _close(path, found, FOLDER_MODE)
    else:
        _share(path, found, group)


def close_files(paths: Iterable[Path]) -> None:
    """Let only us read these files; what is not there or not ours is left alone."""
    for path in paths:
        try:
            found = path.lstat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            _close(path, found, FILE_MODE)


def database_files(path: Path) -> list[Path]:
    """A SQLite database and what lies beside it while it is open."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal")]


def group_number(name: str) -> int:
    """The number of a group, by its name or as it is.

    Raises:
        ValueError: there is no such group, or we are not in it.
    """
    if name.isascii() and name.isdigit():
        number = int(name)
    else:
        try:
            number = grp.getgrnam(name).gr_gid
        except KeyError:
            raise ValueError(f"there is no group {name!r} on this machine.") from None
    if os.geteuid() != 0 and number not in {os.getegid(), *os.getgroups()}:
        raise ValueError(f"this process is not in the group {name!r}. Add its user.")
    return number


def _is_shared(found: os.stat_result, group: int) -> bool:
    return found.st_gid == group and found.st_mode & 0o070 == 0o070


def _share(path: Path, found: os.stat_result, group: int) -> None:
    if found.st_gid == group and stat.S_IMODE(found.st_mode) == GROUP_FOLDER_MODE:
        return
    try:
        os.chown(path, -1, group)
        path.chmod(GROUP_FOLDER_MODE)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be given to the group {group}: {error.strerror}."
        ) from None


def _close(path: Path, found: os.stat_result, mode: int) -> None:
    before = stat.S_IMODE(found.st_mode)
    if not before & FOR_OTHERS:
        return
    try:
        path.chmod(mode)
        after = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        after = before
    if after & FOR_OTHERS:
        # A share of another system, or one that is mounted with fixed modes.
        notes.append(
            f"{path} can be read by other users (mode {after:04o}), and its file "
            "system does not let us change that."
        )
    else:
        notes.append(
            f"{path} could be read by other users (mode {before:04o}); now it has the "
            f"mode {after:04o}."
        )
