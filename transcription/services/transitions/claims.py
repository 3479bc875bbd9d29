"""A worker claims a waiting task, or keeps it from the others until it can."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from transcription.database import despite_conflicts, despite_outages
from transcription.models import TranscriptionTask
from transcription.services import turns
from transcription.services.held_tasks import TASKS
from transcription.services.transitions.changes import Status
from transcription.services.turns import MAY_START
from transcription.work.kinds import Lease


@despite_outages
@despite_conflicts
def claim_preparation(
    task_id: int, *, owner: str, only_if: Q = MAY_START
) -> Lease | None:
    """Take a waiting task into preparation. None: another worker was first.

    Args:
        task_id: the row.
        owner: the process.
        only_if: what must be true of the row, beyond that it waits.
    """
    return _claim(
        task_id,
        only_if,
        owner=owner,
        waiting=Status.PREPARING,
        preparation_started_at=Now(),
    )


@despite_outages
@despite_conflicts
def claim_inference(
    task_id: int, *, owner: str, only_if: Q = MAY_START
) -> Lease | None:
    """Move a queued task to processing. None: another worker was first.

    Args:
        task_id: the row.
        owner: the process.
        only_if: what must be true of the row, beyond that it waits.
    """
    return _claim(
        task_id,
        only_if,
        owner=owner,
        waiting=Status.QUEUED,
        status=Status.PROCESSING,
        started_at=Now(),
    )


def _claim(
    task_id: int, only_if: Q, *, owner: str, waiting: str, **changes: Any
) -> Lease | None:
    with transaction.atomic():
        lease = TASKS.claim(
            task_id,
            only_if & Q(status=waiting, lease_token=None, cancel_requested_at=None),
            owner=owner,
            attempts=F("attempts") + 1,
            **changes,
        )
        if lease:
            turns.note_start(task_id)
    return lease


@despite_outages
@despite_conflicts
def set_aside(task_id: int, *, only_if: Q) -> bool:
    """Keep a queued task from other workers until this one can run it.

    It is as in a pause after a failure: if this process dies, the dispatcher sends a
    hint when the pause is over, which is as long as a lease.

    Returns:
        False if another worker was first.
    """
    return bool(
        TranscriptionTask.objects.filter(
            only_if,
            pk=task_id,
            status=Status.QUEUED,
            lease_token=None,
            cancel_requested_at=None,
        ).update(dispatched_at=None, not_before=TASKS.lease_end())
    )
