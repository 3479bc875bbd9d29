"""Waiting for something to become true, with a deadline in place of a sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

# Between two looks, at first and at most. A look may cost a query, or a walk through
# all processes, and takes the time from those that are waited for.
FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.2
# How much of the time so far the next pause takes.
PAUSE_SHARE: Final = 0.1
# A machine with nothing else to do meets the deadlines that tests name. One whose cores
# are all busy may take this many times as long, and that is not a fault.
BUSY_FACTOR: Final = 5.0


def patient(seconds: float) -> float:
    """How long to wait on any machine for what takes so long at most on a quiet one."""
    return seconds * BUSY_FACTOR


def wait_for(
    what: Callable[[], T],
    *,
    seconds: float = 10.0,
    named: str | Callable[[], str] = "what was waited for",
) -> T:
    """Return the first true value of `what`.

    Args:
        what: asked again and again.
        seconds: how long it may take on a quiet machine; see `patient`.
        named: what the error calls it.

    Raises:
        AssertionError: there was none in time; `named` tells more.
    """
    limit = patient(seconds)
    began = time.monotonic()
    while True:
        value = what()
        if value:
            return value
        passed = time.monotonic() - began
        if passed > limit:
            name = named if isinstance(named, str) else named()
            raise AssertionError(f"{name} did not come within {limit:g} s.")
        time.sleep(min(max(FIRST_PAUSE, PAUSE_SHARE * passed), LONGEST_PAUSE))
