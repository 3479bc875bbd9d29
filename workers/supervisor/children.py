"""The processes: one child with its leash, and the guard of all."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from whisperhub.logging import escaped
from workers import leash
from workers.readiness import READY_VARIABLE
from workers.supervisor.programs import LineFilter, LogFile, Program

logger = logging.getLogger(__name__)
LEASH: Final = str(Path(leash.__file__).resolve())
# Isolated from the user's environment and without site-packages: starts in 15 ms.
LEASH_PYTHON: Final = (sys.executable, "-I", "-S", LEASH)
TAIL_LINES: Final = 15
# A line without an end would grow for ever.
MAX_LINE_BYTES: Final = 16_384
BACKOFF_FIRST_SECONDS: Final = 0.5
BACKOFF_LIMIT_SECONDS: Final = 30.0
# A child that ran this long before it died starts the back-off anew.
STABLE_SECONDS: Final = 30.0


class Guard:
    """The process that ends our children when we are killed; see workers/leash.py.

    Created by a supervisor before its first child. It also holds the descriptors in
    `hold`, so that a lock of ours is free only when the last child is gone.
    """

    def __init__(self, hold: Sequence[int] = ()) -> None:
        self._hold = tuple(hold)
        self._groups: set[int] = set()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*LEASH_PYTHON, "--guard"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=self._hold,
        )

    def add(self, group: int) -> None:
        """Entrust a process group to it."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Take back a group that has ended."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is None:
            raise RuntimeError("The guard was started without a pipe.")
        try:
            pipe.write(line.encode())
            pipe.flush()
        except (BrokenPipeError, ValueError):
            # It is closed where starting another guard had failed.
            logger.warning("The guard process died; starting another")
            self._discard()
            self._process = self._start()
            for group in self._groups:
                self._tell(f"+{group}\n")

    def _discard(self) -> None:
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        self._process.wait()

    def close(self) -> None:
        """Let it go; by now no group should be left, and it ends those that are."""
        self._discard()


class Child:
    """One run or several runs, one after the other, of a program."""

    def __init__(
        self, program: Program, *, shows: LineFilter, log: LogFile | None
    ) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.log = log
        self.shows = shows
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.was_ready = False
        self.ready_by = 0.0
        self.started_at = 0.0
        self.failures = 0
        self.restart_at: float | None = None
        self.kill_at: float | None = None
        self.leaving = False
        self._partial = b""

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The running process and its group, None between two runs."""
        return None if self.process is None else self.process.pid

    def spawn(self) -> IO[bytes]:
        """Start a run in a session of its own; return its output, stderr included."""
        self.tail.clear()
        self._partial = b""
        self.restart_at = self.kill_at = None
        self.was_ready = False
        self.started_at = time.monotonic()
        self.ready_by = self.started_at + self.program.ready_seconds
        self.process = subprocess.Popen(
            [*LEASH_PYTHON, "--parent", str(os.getpid()), "--", *self.program.command],
            env={
                **{k: v for k, v in os.environ.items() if k != READY_VARIABLE},
                **self.program.environment,
            },
            cwd=self.program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A Ctrl-C goes to the terminal's group: ours only, so that we stop the
            # children in order.
            start_new_session=True,
        )
        if self.process.stdout is None:
            raise RuntimeError("The child was started without a pipe.")
        os.set_blocking(self.process.stdout.fileno(), False)
        return self.process.stdout

    def split(self, data: bytes) -> Iterator[str]:
        """Whole lines of the output; what is left waits for more, or for its end."""
        self._partial += data
        *lines, self._partial = self._partial.split(b"\n")
        if self._partial and (not data or len(self._partial) > MAX_LINE_BYTES):
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            text = escaped(line.decode("utf-8", "replace").rstrip())
            if text:
                self.tail.append(text)
                yield text

    def signal(self, number: signal.Signals) -> None:
        """Signal the process alone: it knows best how to end its own children."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.process is not None:
            leash.send(self.process.pid, signal.SIGKILL)

    def backoff(self) -> float:
        """Seconds until the next start, doubled by each early death in a row."""
        if time.monotonic() - self.started_at >= STABLE_SECONDS:
            self.failures = 0
        seconds = BACKOFF_FIRST_SECONDS * 2.0**self.failures
        self.failures += 1
        return min(seconds, BACKOFF_LIMIT_SECONDS)
