"""Which tasks may start again: told of a row, and as a condition in the database."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db.models import Q

from transcription.models import TranscriptionTask

Status = TranscriptionTask.Status
Source = TranscriptionTask.Source

# The ends that a new start may do away with.
RETRYABLE: Final = frozenset({Status.FAILED, Status.CANCELLED})


def can_retry(task: TranscriptionTask) -> bool:
    """Whether a task could start again, by its row alone.

    It ended without a result, and its media is kept or can be fetched once more.
    """
    return task.status in RETRYABLE and (
        settings.KEEP_ORIGINALS
        or task.source == Source.LINK
        or task.media_expires_at is not None
    )


def retryable() -> Q:
    """The rows of which `can_retry` is true."""
    ended = Q(status__in=RETRYABLE)
    if settings.KEEP_ORIGINALS:
        return ended
    return ended & (Q(source=Source.LINK) | Q(media_expires_at__isnull=False))
