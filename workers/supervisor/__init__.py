"""Runs a set of named programs as one: starts them in order, keeps them up, stops them.

Everything happens in the one thread that calls `Supervisor.run`, which sleeps in a
selector; `request_stop` may come from a signal handler or from another thread.
"""

from __future__ import annotations

from workers.supervisor.children import Child, Guard
from workers.supervisor.programs import (
    LineFilter,
    LogFile,
    Program,
    ProgramFailedError,
    describe_exit,
    write_to_stderr,
)
from workers.supervisor.supervising import Supervisor, stop_on_signals

__all__ = [
    "Child",
    "Guard",
    "LineFilter",
    "LogFile",
    "Program",
    "ProgramFailedError",
    "Supervisor",
    "describe_exit",
    "stop_on_signals",
    "write_to_stderr",
]
