"""A program as its owner describes it, and what becomes of what it prints."""

from __future__ import annotations

import logging
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

# The level as logging, Celery and uvicorn write it, and as Flower's Tornado does:
# "[W 261122 10:32:52 command:168] …".
LEVEL: Final = re.compile(
    r"\b(?:(?P<loud>WARNING|ERROR|CRITICAL)|DEBUG|INFO)\b|^\[(?:(?P<bad>[WEC])|[DI]) \d"
)
LEVEL_COLUMNS: Final = 60


class ProgramFailedError(Exception):
    """A program did not come up: a sentence, and the end of its output."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One child process as its owner describes it.

    Attributes:
        name: what its lines on the console begin with; unique in a supervisor.
        command: program and arguments.
        environment: variables on top of our own.
        cwd: working folder; None: ours.
        is_ready: asked until it says yes; must answer within a second. None: ready as
            soon as it runs, or for `runs_once` when it has ended well.
        ready_seconds: how long that may take.
        runs_once: comes to its end by itself, before the next stage starts.
        must_start: its death before it was ready ends the supervisor; otherwise it is
            started again like any other.
        patience_seconds: from SIGTERM to SIGKILL.
        final_statuses: exit statuses after which starting it again is of no use.
        hint: a sentence for the operator when it does not come up.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    is_ready: Callable[[], bool] | None = None
    ready_seconds: float = 60.0
    runs_once: bool = False
    must_start: bool = True
    patience_seconds: float = 10.0
    final_statuses: frozenset[int] = frozenset()
    hint: str = ""


class LineFilter:
    """Decides which lines of a child's output an operator should see.

    Lines without a level (the rest of a traceback) go the way of the line above.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._loud = False

    def shows(self, line: str) -> bool:
        """Whether this next line belongs on the console."""
        match = LEVEL.search(line[:LEVEL_COLUMNS])
        if match:
            self._loud = bool(match["loud"] or match["bad"])
        elif line.startswith("Traceback (most recent call last)"):
            self._loud = True
        return self._verbose or self._loud


class LogFile(RotatingFileHandler):
    """The lines of one child in a file of its own, turned over at a size."""

    def __init__(self, path: Path, *, max_bytes: int, backup_count: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(
            path, maxBytes=max_bytes, backupCount=backup_count, encoding="utf-8"
        )

    def write(self, line: str) -> None:
        """Append one line."""
        self.emit(logging.makeLogRecord({"msg": line}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Let it pass: a full disk is no reason to stop the service."""


def describe_exit(code: int) -> str:
    """Say how a process ended, from the return code subprocess gives."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def write_to_stderr(line: str) -> None:
    """Write a line for the operator; a terminal that went away is no error."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
