"""A worker gives a task back that it could not go on with, at no cost to the task."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q

from transcription.database import after_now, despite_conflicts
from transcription.services.transitions.cancelling import finish_cancelled
from transcription.services.transitions.changes import (
    ATTEMPT_GIVEN_BACK,
    Outcome,
    error_changes,
)
from transcription.work.kinds import Lease


@despite_conflicts
def hand_back(lease: Lease) -> Outcome:
    """Return a task to where it waited; neither an attempt nor a loss is counted.

    For a process that ends in good order, or for another job's fault.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    if lease.kind.hand_back(
        lease, Q(cancel_requested_at=None), attempts=ATTEMPT_GIVEN_BACK
    ):
        return Outcome.RETRIED
    return finish_cancelled(lease)


@despite_conflicts
def postpone(lease: Lease, *, code: str, message: str, seconds: float) -> Outcome:
    """Put a task back that cannot go on now; neither an attempt nor a loss is counted.

    Args:
        lease: the right to write.
        code: what it waits for, for programs.
        message: the same as a sentence for people.
        seconds: how long it waits before it is looked at again.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    if lease.kind.hand_back(
        lease,
        Q(cancel_requested_at=None),
        attempts=ATTEMPT_GIVEN_BACK,
        not_before=after_now(timedelta(seconds=seconds)),
        **error_changes(code, message),
    ):
        return Outcome.RETRIED
    return finish_cancelled(lease)
