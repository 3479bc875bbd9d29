"""Hints: messages that wake a worker for a lane; to lose or double one is harmless.

Each is sent for one task, but the worker takes the task of the lane whose turn it is.
So there are as many hints in a lane as tasks wait there for one.
"""

from __future__ import annotations

import logging
from typing import Final

from transcription.models import TranscriptionTask
from transcription.services import transitions
from transcription.services.publishing import breaker, publish
from transcription.services.turns import lane_of

logger = logging.getLogger(__name__)

PREPARE_TASK: Final = "transcription.tasks.prepare_media"
INFERENCE_TASK: Final = "transcription.tasks.run_transcription"


def send_hint(task_id: int) -> bool:
    """Wake a worker for a waiting task; never raises for a broker that is away.

    Returns:
        Whether a message is on its way. If not, `dispatched_at` is empty and the
        dispatcher will try again.
    """
    if breaker.is_open() or not transitions.mark_dispatched(task_id):
        return False
    task = (
        TranscriptionTask.objects.filter(pk=task_id)
        .only(
            "public_id", "status", "model", "effective_priority", "attempts", "losses"
        )
        .first()
    )
    if task is None:
        return False  # Deleted a moment ago.
    return send_marked(task)


def send_marked(task: TranscriptionTask) -> bool:
    """Send the hint of a row that says already that one is on its way.

    Args:
        task: as it stands in the database.

    Returns:
        Whether it is; if not, the row does not say so any more.
    """
    preparing = task.status == TranscriptionTask.Status.PREPARING
    start = task.attempts + task.losses + 1
    lane = lane_of(task)
    error = publish(
        PREPARE_TASK if preparing else INFERENCE_TASK,
        args=[lane],
        # One id for each start, so that Flower and the result table list them all.
        message_id=f"{task.public_id}-{'p' if preparing else 'a'}{start}",
        queue_name=lane,
    )
    if error is not None:
        transitions.mark_undispatched(task.pk)
        logger.warning("Task %s: hint not sent (%s)", task.public_id, error)
        return False
    return True
