"""A client or an operator withdraws a task."""

from __future__ import annotations

import logging

from transcription.models import TranscriptionTask
from transcription.services import events, retention
from transcription.services.transitions import cancelling

Status = TranscriptionTask.Status

logger = logging.getLogger(__name__)


def cancel_task(task: TranscriptionTask) -> bool:
    """Cancel a waiting task at once; have the worker of a running one stop.

    Returns:
        False if the task had ended already.
    """
    if not cancelling.cancel(task.pk):
        return False
    row = TranscriptionTask.objects.filter(pk=task.pk).only("status").first()
    # Without a row it was deleted a moment ago.
    task.status = row.status if row else Status.CANCELLED
    if task.is_finished:
        retention.conclude(task, task.status)
    else:
        events.announce_stop(task.public_id)
    logger.info("Task %s: cancellation asked for, %s", task.public_id, task.status)
    return True
