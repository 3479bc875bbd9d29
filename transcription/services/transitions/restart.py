"""An ended task starts again, as long as its media are kept."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.db.models.functions import Now

from transcription.database import despite_conflicts
from transcription.models import TranscriptionTask
from transcription.retries import RETRYABLE, retryable
from transcription.services import callbacks, turns
from transcription.services.transitions.changes import Status, locked
from transcription.work.kinds import NO_LEASE
from whisperhub.web.request_id import named_by_request

# What a task that begins anew has not yet reached.
MOMENTS_OF_AN_ATTEMPT: Final = (
    "preparation_started_at",
    "queued_at",
    "started_at",
    "finished_at",
    "progress_at",
    "dispatched_at",
    "not_before",
    "cancel_requested_at",
    "media_expires_at",
)


@despite_conflicts
def start_again(task_id: int, *, quota_account_id: int | None = None) -> bool:
    """Move a failed or cancelled task to preparing, as if it had just come.

    What was to be told of its former end is not told any more.

    Args:
        task_id: the row.
        quota_account_id: what it is counted for from now on; None: as before.

    Returns:
        False if it is in another state, or it or its media are gone.
    """
    with transaction.atomic():
        rows = TranscriptionTask.objects.filter(retryable(), pk=task_id)
        task = locked(rows)
        if task is None:
            return False
        task.status = Status.PREPARING
        lane = turns.lane_of(task, priority=task.priority)
        counted_for = {"quota_account_id": quota_account_id} if quota_account_id else {}
        rows.update(
            status=Status.PREPARING,
            effective_priority=task.priority,
            turn=turns.next_turn(lane, task.owner_id),
            retried_at=Now(),
            attempts=0,
            losses=0,
            progress=0.0,
            notices=[],
            error_code="",
            error_message="",
            **counted_for,
            **named_by_request(),
            **dict.fromkeys(MOMENTS_OF_AN_ATTEMPT),
            **NO_LEASE,
        )
        callbacks.withdraw(task_id)
    return True


@despite_conflicts
def let_media_go(task_id: int) -> bool:
    """Note that the kept upload of an ended task is about to be deleted.

    Returns:
        False if the task has started again, or somebody else deletes it.
    """
    return bool(
        TranscriptionTask.objects.filter(
            pk=task_id, status__in=RETRYABLE, media_expires_at__isnull=False
        ).update(media_expires_at=None)
    )
