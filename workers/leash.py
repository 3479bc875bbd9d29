"""Keeps every child from outliving its supervisor, even one that was killed with -9.

Two independent guards, both started by workers/supervisor/ by this file's path, with
the standard library only, so that they cost milliseconds:

- `leash.py --parent PID -- command…` runs before each child. On Linux it asks the
  kernel for SIGTERM at the supervisor's death, then becomes the command.
- `leash.py --guard` is one process beside the supervisor, on every system. It holds the
  reading end of a pipe; when that ends without a farewell the supervisor is dead, and
  every process group it had announced gets SIGTERM and, if it ignores that, SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
GRACE_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.05
# What a shell answers for a command that cannot be run.
CANNOT_RUN: Final = 127


def die_with_parent(parent: int) -> None:
    """Make the kernel end this process when `parent` ends; exit if it already has.

    The setting survives the exec that follows. It belongs to the parent's *thread*: a
    thread that starts children must live as long as they do.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            sys.stderr.write("prctl failed; only the guard watches this process.\n")
    # The parent may have died before the line above; then nobody would tell us.
    if os.getppid() != parent:
        sys.exit("The supervisor is gone.")


def run_command(parent: int, command: list[str]) -> None:
    """Become `command`, tied to `parent`."""
    die_with_parent(parent)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error.strerror}.\n")
        sys.exit(CANNOT_RUN)


def is_running(group: int) -> bool:
    """Whether a process group still has a member that is not a zombie of ours."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS says so of a group that holds zombies only.
        return False
    return True


def send(group: int, number: signal.Signals) -> None:
    """Signal a process group that may have gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def end_groups(groups: set[int], *, grace: float = GRACE_SECONDS) -> None:
    """SIGTERM to every group, and SIGKILL to those alive after `grace` seconds."""
    for group in groups:
        send(group, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(map(is_running, groups)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for group in groups:
        send(group, signal.SIGKILL)


def guard() -> None:
    """Read `+PID` and `-PID` lines to their end, then end the groups that are left."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        try:
            group = int(line[1:])
        except ValueError:
            continue  # Cut off: the supervisor died while it wrote.
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    if groups:
        end_groups(groups)


def main(arguments: list[str]) -> None:
    """Dispatch the two forms of the command line."""
    match arguments:
        case ["--guard"]:
            guard()
        case ["--parent", parent, "--", *command] if command:
            run_command(int(parent), command)
        case ["--", *command] if command:
            run_command(os.getppid(), command)
        case _:
            sys.exit("usage: leash.py --guard | [--parent PID] -- command…")


if __name__ == "__main__":
    main(sys.argv[1:])
