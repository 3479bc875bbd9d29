"""A task is cancelled: at once while it waits, else by the worker that holds it."""

from __future__ import annotations

from django.db.models.functions import Now

from transcription.database import despite_conflicts
from transcription.models import TranscriptionTask
from transcription.services.transitions.changes import WAITING, Outcome, Status
from transcription.services.transitions.ending import end, end_held
from transcription.work.kinds import Lease


@despite_conflicts
def cancel(task_id: int) -> bool:
    """Cancel a waiting task at once; ask the worker of a running one to stop.

    Returns:
        False if the task was in a final state already, or is gone.
    """
    task = TranscriptionTask.objects.filter(pk=task_id)
    while True:
        waiting = task.filter(status__in=WAITING, lease_token=None)
        if end(task_id, waiting, Status.CANCELLED, cancel_requested_at=Now()):
            return True
        if task.filter(
            status__in=[Status.PREPARING, Status.PROCESSING],
            lease_token__isnull=False,
            cancel_requested_at=None,
        ).update(cancel_requested_at=Now()):
            return True
        unfinished = task.exclude(status__in=TranscriptionTask.FINAL)
        if not unfinished.exists():
            return False
        if unfinished.filter(cancel_requested_at__isnull=False).exists():
            return True


@despite_conflicts
def finish_cancelled(lease: Lease) -> Outcome:
    """Move a running task whose cancellation was asked for to cancelled.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    end_held(lease, Status.CANCELLED)
    return Outcome.CANCELLED
