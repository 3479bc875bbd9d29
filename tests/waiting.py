"""Waiting for something to become true, with a deadline in place of a sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02


def wait_for(
    what: Callable[[], T],
    *,
    seconds: float = 10.0,
    named: str | Callable[[], str] = "what was waited for",
) -> T:
    """Return the first true value of `what`.

    Raises:
        AssertionError: there was none within `seconds`; `named` tells more.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > deadline:
            name = named if isinstance(named, str) else named()
            raise AssertionError(f"{name} did not come within {seconds:g} s.")
        time.sleep(POLL_SECONDS)
