"""Finds tasks and callbacks whose hint is nowhere any more.

A broker loses messages without a sign: a worker that is killed while it waits takes the
one just handed to it along, and an emptied broker all of them. The row then says that a
hint is on its way, for ever.

A hint of a task is for whoever is next in its lane, so what counts is how many there
are. One too many finds nobody and is gone; and because the hints of a lane are compared
with its rows each time, they do not become more and more. A callback has a hint of its
own.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Count
from django.db.models.functions import Now

from transcription.models import Callback, TranscriptionTask
from transcription.services import callbacks, transitions
from whisperhub.queues import CALLBACKS
from whisperhub.redis import NEWS, redis_client

logger = logging.getLogger(__name__)

# A hint this young may be between two places: taken from its queue, not yet noted as
# taken, or read by a worker that is about to claim the row.
LEAST_AGE: Final = timedelta(seconds=2)
# As many as the dispatcher sends in a round.
BATCH: Final = 500
# kombu's hash of the messages that were handed out and are not acknowledged, and when
# that was.
UNACKNOWLEDGED: Final = "unacked"
UNACKNOWLEDGED_SINCE: Final = "unacked_index"


def forget_lost_hints(*, thoroughly: bool) -> int:
    """Mark rows as undispatched for whom no hint is queued or with a worker.

    The next round of the dispatcher sends them a new one.

    Args:
        thoroughly: compare all callbacks with their messages; otherwise only if there
            are fewer messages.

    Returns:
        How many hints were lost.

    Raises:
        RedisError, OSError: the broker is away.
    """
    return _forget_of_tasks() + _forget_of_callbacks(thoroughly=thoroughly)


def _forget_of_tasks() -> int:
    lanes = _lanes()
    queued = {lane: _length(lane) for lane in lanes}
    short = [lane for lane, waiting in lanes.items() if waiting > queued[lane]]
    if not short:
        return 0
    # The queues before what was handed out: a message moves in this direction. And
    # both before the rows: who is claimed meanwhile waits no more, and who comes
    # meanwhile is too young.
    handed_out = Counter(lane for _, lane in _handed_out())
    lost = 0
    for lane in short:
        awaiting = TranscriptionTask.objects.filter(
            lane=lane, dispatched_at__lt=Now() - LEAST_AGE
        )
        missing = awaiting.count() - queued[lane] - handed_out[lane]
        if missing > 0:
            lost += forget_in_lane(lane, missing)
    if lost:
        logger.warning("%d hints were lost in %s", lost, ", ".join(sorted(short)))
    return lost


def _lanes() -> dict[str, int]:
    """How many tasks wait in each lane, with a hint or without."""
    waiting = TranscriptionTask.objects.filter(lane__isnull=False).order_by()
    return dict(waiting.values_list("lane").annotate(Count("pk")))


def forget_in_lane(lane: str, hints: int) -> int:
    """Mark tasks of a lane as undispatched, because so many of its hints are lost.

    Those with the last turns: the others keep theirs, and nobody is served without.

    Returns:
        How many were marked; the others are later.
    """
    hinted = TranscriptionTask.objects.filter(lane=lane, dispatched_at__isnull=False)
    last = hinted.order_by("-turn", "-id").values_list("pk", flat=True)
    return transitions.mark_undispatched(*last[: min(hints, BATCH)])


def _forget_of_callbacks(*, thoroughly: bool) -> int:
    due = Callback.objects.filter(
        state=Callback.State.PENDING,
        next_attempt_at__lte=Now(),
        dispatched_at__lt=Now() - LEAST_AGE,
    ).values_list("pk", "public_id")
    rows = {pk: str(public_id) for pk, public_id in due}
    if not rows or not (thoroughly or len(rows) > _length(CALLBACKS)):
        return 0
    # The queue before what was handed out: a message moves in this direction.
    known = _ids(_list(CALLBACKS)) | _ids(message for message, _ in _handed_out())
    lost = [pk for pk, public_id in rows.items() if public_id not in known]
    for pk in lost:
        callbacks.mark_undispatched(pk)
    if lost:
        logger.warning("%d hints of callbacks were lost", len(lost))
    return len(lost)


def _length(name: str) -> int:
    length: Any = redis_client(NEWS).llen(name)
    return int(length)


def _list(name: str) -> Iterable[Any]:
    messages: Any = redis_client(NEWS).lrange(name, 0, -1)
    return [json.loads(message) for message in messages]


def _handed_out() -> Iterator[tuple[Any, str]]:
    """The messages that workers were given within the length of a lease, by queue.

    What a worker has had for longer is the message of a job that runs, or may have
    died with it: the broker keeps it for a day. If it waits behind a suspect instead,
    one more message is harmless.
    """
    oldest = time.time() - settings.LEASE_SECONDS
    tags: Any = redis_client(NEWS).zrangebyscore(UNACKNOWLEDGED_SINCE, oldest, "+inf")
    if not tags:
        return
    values: Any = redis_client(NEWS).hmget(UNACKNOWLEDGED, tags)
    for value in values:
        if value is not None:
            message, _, queue = json.loads(value)
            yield message, queue


def _ids(messages: Iterable[Any]) -> set[str]:
    """The public ids of the rows that messages are about (`<id>-c1`)."""
    return {message["headers"]["id"].rpartition("-")[0] for message in messages}
