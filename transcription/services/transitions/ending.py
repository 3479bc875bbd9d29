"""A task ends: the one way into a final state, with the callback of the task."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Case, DateTimeField, When
from django.db.models.functions import Now

from transcription.database import after_now
from transcription.models import TranscriptionTask
from transcription.retries import RETRYABLE
from transcription.services import callbacks
from transcription.work.kinds import NO_LEASE, Lease


def end(task_id: int, rows: Any, status: str, **changes: Any) -> bool:
    """Move a task to a final state, and note its callback; both or neither.

    Every arrow into a final state goes through here.

    Args:
        task_id: the row.
        rows: that row, under the conditions of the arrow.
        status: completed, failed or cancelled.
        changes: what else is written.
    """
    # No savepoint: whoever has a transaction open loses all of it with this.
    with transaction.atomic(savepoint=False):
        ended = rows.update(
            status=status,
            finished_at=Now(),
            media_expires_at=_media_end(status),
            # They are deleted with the end.
            samples_bytes=None,
            **changes,
            **NO_LEASE,
        )
        if ended:
            callbacks.record(task_id, status)
    return bool(ended)


def end_held(lease: Lease, status: str, **changes: Any) -> None:
    if not end(lease.row_id, lease.rows, status, **changes):
        raise lease.lost_error()


def keeps_media(status: str) -> bool:
    """Whether an upload is kept for a while when its task ends so; not for good."""
    return (
        status in RETRYABLE
        and settings.KEEP_FAILED_HOURS > 0
        and not settings.KEEP_ORIGINALS
    )


def _media_end(status: str) -> Any:
    """An expression: until when the upload of a task with this end is kept.

    What came by a link is fetched once more where it is needed.
    """
    if not keeps_media(status):
        return None
    return Case(
        When(
            source=TranscriptionTask.Source.UPLOAD,
            then=after_now(timedelta(hours=settings.KEEP_FAILED_HOURS)),
        ),
        output_field=DateTimeField(),
    )
