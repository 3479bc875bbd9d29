"""Writes to a row how far its job is, now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection

from transcription.database import will_pass

logger = logging.getLogger(__name__)

# Often enough for a person who watches, rare enough for SQLite's single writer.
PROGRESS_SECONDS = 1.0
# While the database is away each try may take seconds, which the job waits.
AWAY_SECONDS = 10.0


class ProgressWriter:
    """When the progress of one job is written; made by whoever runs the job.

    Args:
        at_once: whether the first report is written, too, however early it comes.
    """

    def __init__(self, *, at_once: bool) -> None:
        """Have written nothing yet."""
        self._written_at = 0.0 if at_once else time.monotonic()

    def write(self, record: Callable[[], None]) -> None:
        """Write with `record`, unless that was done a moment ago.

        While the database is away nothing is written, and the job goes on.

        Args:
            record: writes under the job's lease.

        Raises:
            LeaseLostError: the lease is no longer ours.
        """
        now = time.monotonic()
        if now - self._written_at < PROGRESS_SECONDS:
            return
        self._written_at = now
        try:
            record()
        except (OperationalError, InterfaceError) as error:
            if not will_pass(error):
                raise
            logger.warning("Database away (%s): progress is not noted", error)
            connection.close()
            self._written_at = now + AWAY_SECONDS
