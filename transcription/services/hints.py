"""Hints: messages that wake a worker for a task; to lose or double one is harmless."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from celery import current_app
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from transcription.models import TranscriptionTask
from transcription.services import transitions
from whisperhub.queues import PREPARE, queue

logger = logging.getLogger(__name__)

PREPARE_TASK: Final = "transcription.tasks.prepare_media"
INFERENCE_TASK: Final = "transcription.tasks.run_transcription"
# After a failed publish the broker is left alone for a while: requests must not each
# wait for its time-out. The dispatcher sends what was held back.
QUIET_SECONDS: Final = 5.0

PUBLISH_ERRORS: Final = (KombuError, OperationalError, RedisError, OSError)


class _Breaker:
    """Keeps publishers off a broker that has just failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_until = 0.0

    def is_open(self) -> bool:
        with self._lock:
            return time.monotonic() < self._closed_until

    def trip(self) -> None:
        with self._lock:
            self._closed_until = time.monotonic() + QUIET_SECONDS

    def reset(self) -> None:
        with self._lock:
            self._closed_until = 0.0


breaker = _Breaker()


def send_hint(task_id: int) -> bool:
    """Tell a worker of a waiting task; never raises for a broker that is away.

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
    preparing = task.status == TranscriptionTask.Status.PREPARING
    start = task.attempts + task.losses + 1
    kind = PREPARE if preparing else task.model
    try:
        current_app.send_task(
            PREPARE_TASK if preparing else INFERENCE_TASK,
            args=[task_id],
            # One id for each start, so that Flower and the result table list them all.
            task_id=f"{task.public_id}-{'p' if preparing else 'a'}{start}",
            # A queue object: a model that is new here needs no configuration here.
            queue=queue(f"{kind}.{task.effective_priority}"),  # type: ignore[arg-type]
        )
    except PUBLISH_ERRORS as error:
        breaker.trip()
        transitions.mark_undispatched(task_id)
        logger.warning("Task %s: hint not sent (%s)", task.public_id, error)
        return False
    return True
