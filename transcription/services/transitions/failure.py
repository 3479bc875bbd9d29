"""An attempt at a task fails: it is tried again later, or has failed for good."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Case, Q, When

from transcription.database import after_now, despite_conflicts
from transcription.services.transitions.cancelling import finish_cancelled
from transcription.services.transitions.changes import Outcome, Status, error_changes
from transcription.services.transitions.ending import end, end_held
from transcription.work.kinds import Lease

# Tasks that failed together, of one cause, do not come back together.
RETRY_JITTER: Final = 0.25


@despite_conflicts
def retry_or_fail(
    lease: Lease, *, code: str, message: str, at_least_seconds: float = 0.0
) -> Outcome:
    """Put a task back for another attempt, or fail it after the last one.

    A task that is to be cancelled does not go back to waiting: nobody would claim it.

    Args:
        lease: the right to write.
        code: stable, for programs.
        message: a sentence for people, without server paths.
        at_least_seconds: before the next attempt, however early it would be due.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    error = error_changes(code, message)
    if lease.kind.hand_back(
        lease,
        Q(cancel_requested_at=None, attempts__lt=settings.MAX_ATTEMPTS),
        not_before=_next_attempt(at_least_seconds),
        **error,
    ):
        return Outcome.RETRIED
    spent = lease.rows.filter(
        cancel_requested_at=None, attempts__gte=settings.MAX_ATTEMPTS
    )
    if end(lease.row_id, spent, Status.FAILED, **error):
        return Outcome.FAILED
    return finish_cancelled(lease)


@despite_conflicts
def fail(lease: Lease, *, code: str, message: str) -> Outcome:
    """Move a task to failed.

    Args:
        lease: the right to write.
        code: stable, for programs.
        message: a sentence for people in English, without server paths.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    end_held(lease, Status.FAILED, **error_changes(code, message))
    return Outcome.FAILED


def _next_attempt(at_least_seconds: float) -> Any:
    """An expression: when a task may be tried again, by the attempts it has spent."""
    more = 1 + random.uniform(0, RETRY_JITTER)  # noqa: S311  (no secret)
    *first, last = (
        after_now(timedelta(seconds=max(seconds * more, at_least_seconds)))
        for seconds in settings.RETRY_SECONDS
    )
    return Case(
        *(When(attempts=number, then=wait) for number, wait in enumerate(first, 1)),
        default=last,
    )
