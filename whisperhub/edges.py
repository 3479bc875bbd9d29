"""The edges of long-lived processes: an unexpected error is logged and ends there.

An edge surrounds one thing that a loop does, so that the loop and everything else in it
go on: the dispatcher with its other steps, a supervisor with its other programs, a
heartbeat with its other leases. Elsewhere errors pass. Only here, and where a request
or a job ends, stands `except Exception`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from django.db import DatabaseError, InterfaceError, OperationalError, connections

logger = logging.getLogger(__name__)

# What fails at each tick is logged once in this time, with the number of its failures.
REPEAT_SECONDS: Final = 60.0


class Edge(StrEnum):
    """Every kind of edge, by its name in the log."""

    # One step of the dispatcher, which has others to do in the same tick.
    TICK_STEP = "dispatcher step"
    # One row, file or message of a step that goes through many.
    ITEM = "item"
    # One of the things that a process does at every beat of its heart.
    BEAT = "beat"
    # One of the calls by which a job is told to stop.
    STOP_CALLBACK = "stop callback"
    # The thread that hears over the broker that a job is to stop.
    STOP_LISTENER = "stop listener"
    # What the owner of a supervisor does when one of its programs has ended.
    EXIT_HANDLER = "exit handler"
    # What else a supervisor does for its owner or for one program.
    SUPERVISOR = "supervisor"
    # One connection of the proxy through which a link is fetched.
    CONNECTION = "connection"
    # One look of the watchdog, or what it does before the process ends.
    WATCHDOG = "watchdog"


class _Journal:
    """When each kind of failure was last logged, and how often it came since then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: dict[tuple[str, type[Exception]], tuple[float, int]] = {}
        self.failures = 0

    def note(self, name: str, error: Exception) -> int | None:
        """Count a failure.

        Returns:
            How many came since one was last logged; None: it is not to be logged yet.
        """
        key, now = (name, type(error)), time.monotonic()
        with self._lock:
            self.failures += 1
            logged_at, silent = self._logged.get(key, (-REPEAT_SECONDS, 0))
            if now - logged_at < REPEAT_SECONDS:
                self._logged[key] = (logged_at, silent + 1)
                return None
            self._logged[key] = (now, 0)
            return silent

    def reset(self) -> None:
        with self._lock:
            self._logged.clear()


_journal = _Journal()


def failure_count() -> int:
    """How many errors have ended at an edge of this process, logged or not."""
    return _journal.failures


def reset() -> None:
    """Forget what was logged; for tests."""
    _journal.reset()


class Passage:
    """A block whose errors end here; made by `guarded`, entered once.

    Attributes:
        error: what the block raised; None: nothing, or it has not ended.
    """

    def __init__(
        self, name: str, about: object, passes: Callable[[Exception], bool]
    ) -> None:
        """Guard a block that has not begun."""
        self.error: Exception | None = None
        self._name = name
        self._about = about
        self._passes = passes

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Log an error, and keep it from going further unless it is to pass."""
        if not isinstance(error, Exception) or self._passes(error):
            return False
        self.error = error
        _log(self._name, error, about=self._about)
        if isinstance(error, (DatabaseError, InterfaceError)):
            _close_connections()
        return True


def guarded(
    edge: Edge,
    what: str = "",
    *,
    about: object = "",
    passes: Callable[[Exception], bool] = lambda error: False,
) -> Passage:
    """Run the block of a `with` so that its errors are logged and go no further.

    After an error of the database this thread's connection is closed; the next use
    opens another.

    Args:
        edge: which kind of edge it is.
        what: names it among those of its kind: a step, a program.
        about: which row or file; of many that fail alike one is logged.
        passes: tells which errors are none of this edge's.
    """
    return Passage(f"{edge.value} {what}".rstrip(), about, passes)


def _log(name: str, error: Exception, *, about: object) -> None:
    silent = _journal.note(name, error)
    if silent is None:
        return
    where = f" ({about})" if about else ""
    again = f", {silent} times more since it was last logged" if silent else ""
    # A server that is away needs no traceback.
    away = isinstance(error, (OperationalError, InterfaceError))
    logger.log(
        logging.WARNING if away else logging.ERROR,
        "The %s failed%s%s: %s",
        name,
        where,
        again,
        error or type(error).__name__,
        exc_info=None if away else error,
    )


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
