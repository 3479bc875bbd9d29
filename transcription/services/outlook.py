"""What an unfinished task may expect: who is before it, and when it will be done.

Every question is bounded, however long the queue is: clients ask often.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from transcription.documents.tasks import Outlook
from transcription.models import TranscriptionTask
from transcription.services import turns
from transcription.services.serving import live_slots
from whisperhub.queues import PREPARE, PRIORITIES, queue_name

Status = TranscriptionTask.Status

WAITING: Final = (Status.PREPARING, Status.QUEUED)
# Beyond this many the exact number is of no use to anybody.
MAX_AHEAD: Final = 1000
# The newest results of a model tell its speed; older ones may be of other machines.
SAMPLES: Final = 20
SAMPLE_AGE: Final = timedelta(days=7)


@dataclass(frozen=True)
class Speed:
    """What a model's latest results took.

    Attributes:
        engine_seconds_per_second: the engine's time for a second of media.
        job_seconds: its time for a whole task.
    """

    engine_seconds_per_second: float
    job_seconds: float


def outlook_of(task: TranscriptionTask) -> Outlook:
    """Look at the queue of a task's model and at its latest results."""
    if task.is_finished:
        return Outlook()
    ahead = _tasks_ahead(task) if task.status in WAITING else None
    return Outlook(ahead, _finish_at(task, ahead or 0))


def _tasks_ahead(task: TranscriptionTask) -> int:
    """Waiting tasks that start before this one, if no other comes.

    A prepared task may be overtaken by one of another owner that is still prepared.
    """
    ahead = 0
    for rows in _rows_ahead(task):
        ahead += rows.order_by()[: MAX_AHEAD - ahead].count()
        if ahead >= MAX_AHEAD:
            break
    return ahead


def _rows_ahead(task: TranscriptionTask) -> Iterator[QuerySet[TranscriptionTask]]:
    """Those tasks, a range of an index each."""
    rows = TranscriptionTask.objects
    higher = PRIORITIES[: PRIORITIES.index(task.effective_priority)]
    own = queue_name(task.model, task.effective_priority)
    if task.status == Status.QUEUED:
        # Those still prepared will be there before its turn has come.
        yield rows.filter(
            model=task.model, status__in=WAITING, effective_priority__in=higher
        )
        yield _before(task, own)
        return
    urgent = [queue_name(task.model, priority) for priority in higher]
    if task.lease_token is None:
        # Whatever the model is, files are prepared in one queue.
        urgent += [queue_name(PREPARE, priority) for priority in higher]
        yield _before(task, queue_name(PREPARE, task.effective_priority))
    yield rows.filter(lane__in=urgent)
    yield rows.filter(lane=own, turn__lt=turns.turn_to_come(own, task.owner_id))


def _before(task: TranscriptionTask, lane: str) -> QuerySet[TranscriptionTask]:
    """Who waits in the lane of a task with an earlier turn."""
    return TranscriptionTask.objects.filter(lane=lane, turn__lte=task.turn).exclude(
        turn=task.turn, pk__gte=task.pk
    )


def _finish_at(task: TranscriptionTask, ahead: int) -> datetime | None:
    if task.media_duration_seconds is None or ahead == MAX_AHEAD:
        return None
    speed = _speed(task)
    if speed is None:
        return None
    left = task.media_duration_seconds * (1 - task.progress)
    seconds = left * speed.engine_seconds_per_second
    if task.status in WAITING:
        places = _places(task)
        if not places:
            return None
        # As many at a time as run now, each for as long as the last ones took.
        seconds += ahead / places * speed.job_seconds
    return timezone.now() + timedelta(seconds=seconds)


def _places(task: TranscriptionTask) -> int:
    """How many tasks of this model may run side by side; 0 if nobody serves it."""
    slots = sum(slot.model == task.model for slot in live_slots())
    running = TranscriptionTask.objects.filter(
        model=task.model, status=Status.PROCESSING
    )
    return max(slots, running.order_by()[:MAX_AHEAD].count())


def _speed(task: TranscriptionTask) -> Speed | None:
    """The medians of this model's newest results; None if there are none."""
    found: list[tuple[float, float]] = []
    # Of its own priority first: mostly these alone are read. The index has the newest
    # of each priority, not of all.
    own = task.effective_priority
    for priority in (own, *(each for each in PRIORITIES if each != own)):
        newest = (
            TranscriptionTask.objects.filter(
                model=task.model,
                status=Status.COMPLETED,
                effective_priority=priority,
            )
            .order_by("-id")
            .values_list("inference_seconds", "media_duration_seconds", "finished_at")
        )
        found += [
            (took, length)
            for took, length, finished_at in newest[: SAMPLES - len(found)]
            if took is not None
            and length
            and finished_at is not None
            and finished_at > timezone.now() - SAMPLE_AGE
        ]
        if len(found) >= SAMPLES:
            break
    if not found:
        return None
    return Speed(
        engine_seconds_per_second=statistics.median(
            took / length for took, length in found
        ),
        job_seconds=statistics.median(took for took, _ in found),
    )
