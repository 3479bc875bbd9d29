"""What a client may still change of its task: the priority, or a new start."""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from transcription.errors import MediaGoneError, NotRetryableError, NotWaitingError
from transcription.models import TranscriptionTask
from transcription.services import hints, transitions
from transcription.storage import TaskFolder

logger = logging.getLogger(__name__)


def change_priority(task: TranscriptionTask, priority: str) -> None:
    """Have a waiting task served with another priority; a new hint leaves for it.

    Raises:
        NotWaitingError: it runs, has ended, or is to be cancelled.
    """
    if not transitions.change_priority(task.pk, priority):
        raise NotWaitingError(_("The task no longer waits."))
    _hint_later(task.pk)
    logger.info("Task %s: priority %s", task.public_id, priority)


def retry_task(task: TranscriptionTask) -> None:
    """Have a failed or cancelled task start again, with the same id and options.

    Media that go between the look and the new start fail the task in preparation.

    Raises:
        NotRetryableError: it has not ended, or it has its result.
        MediaGoneError: its media was deleted.
    """
    may_start = task.status not in transitions.RETRYABLE or _has_media(task)
    if not (may_start and transitions.start_again(task.pk)):
        still = TranscriptionTask.objects.filter(pk=task.pk)
        if still.filter(status__in=transitions.RETRYABLE).exists():
            raise MediaGoneError(
                _("The media of this task is no longer here. Submit it again.")
            )
        raise NotRetryableError(
            _("Only a task that failed or was cancelled can start again.")
        )
    _hint_later(task.pk)
    logger.info("Task %s: started again", task.public_id)


def can_retry(task: TranscriptionTask) -> bool:
    """Whether a task could start again, by its row alone."""
    return task.status in transitions.RETRYABLE and (
        settings.KEEP_ORIGINALS
        or task.source == TranscriptionTask.Source.LINK
        or task.media_expires_at is not None
    )


def _has_media(task: TranscriptionTask) -> bool:
    # What came by a link can be fetched once more.
    return (
        task.source == TranscriptionTask.Source.LINK
        or TaskFolder(task.public_id).original.exists()
    )


def _hint_later(task_id: int) -> None:
    transaction.on_commit(lambda: hints.send_hint(task_id), robust=True)
