"""A task is taken back from a worker that died or stopped renewing its lease."""

from __future__ import annotations

import uuid
from typing import Final

from django.db.models import F
from django.db.models.functions import Now

from transcription.database import despite_conflicts
from transcription.models import TranscriptionTask
from transcription.services.transitions.changes import (
    ATTEMPT_GIVEN_BACK,
    Outcome,
    Status,
    error_changes,
    put_back,
)
from transcription.services.transitions.ending import end
from transcription.work.kinds import Lease
from whisperhub.sentences import Sentence

# A task may lose this many workers. After that it runs alone in its process, so that
# the next loss is its own fault and nobody else's.
LOSSES_FORGIVEN: Final = 2
WORKER_LOST: Final = "worker_lost"
WORKER_LOST_MESSAGE: Final = Sentence(
    "The worker process died each time it worked on this file. Convert the file to "
    "another format and submit it again."
)


@despite_conflicts
def take_back(
    task_id: int, token: uuid.UUID, *, only_expired: bool = True
) -> Outcome | None:
    """Take a task from a worker that died or stopped renewing its lease.

    The attempt is not spent: it was the worker's fault, until too many died of it.

    Args:
        task_id: the row.
        token: the lease as it was read; a task claimed anew since then stays.
        only_expired: leave a lease that still runs; False when the worker is known
            to be dead.

    Returns:
        What became of the task; None if it is no longer under this lease.
    """
    taken = TranscriptionTask.objects.filter(pk=task_id, lease_token=token)
    if only_expired:
        taken = taken.filter(lease_expires_at__lt=Now())
    cancelled = taken.filter(cancel_requested_at__isnull=False)
    wanted = taken.filter(cancel_requested_at=None)
    while True:
        if end(task_id, cancelled, Status.CANCELLED):
            return Outcome.CANCELLED
        if wanted.filter(losses__lt=LOSSES_FORGIVEN).update(
            **put_back(), losses=F("losses") + 1, attempts=ATTEMPT_GIVEN_BACK
        ):
            return Outcome.RETRIED
        if end(
            task_id,
            wanted.filter(losses__gte=LOSSES_FORGIVEN),
            Status.FAILED,
            losses=F("losses") + 1,
            **error_changes(WORKER_LOST, WORKER_LOST_MESSAGE),
        ):
            return Outcome.FAILED
        if not taken.exists():
            return None


def count_loss(lease: Lease) -> Outcome | None:
    """Take a task from a process of this worker that has died over it.

    Returns:
        What became of the task; None if it is no longer under this lease.
    """
    return take_back(lease.row_id, lease.token, only_expired=False)
