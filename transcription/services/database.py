"""Database access that outlives a restart of the database server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 3.0


def persistently(action: Callable[[], T], *, seconds: float = 300.0) -> T:
    """Run one database action, again on a fresh connection while the server is away.

    Inside a long job Django never replaces a broken connection by itself, and the
    drivers then fail for ever. The action must be safe to repeat: ours are, each write
    carries a lease token in its WHERE.

    Args:
        action: the reads and writes; its own transaction if it needs one.
        seconds: how long to go on trying.

    Raises:
        OperationalError: the database did not come back in time.
        InterfaceError: likewise.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or time.monotonic() + pause > deadline:
                raise
            logger.warning("Database away (%s); again in %.1f s", error, pause)
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
