"""Finds tasks and callbacks whose hint is nowhere any more.

A broker loses messages without a sign: a worker that is killed while it waits takes the
one just handed to it along, and an emptied broker all of them. The row then says that a
hint is on its way, for ever.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from transcription.models import Callback, TranscriptionTask
from transcription.services import callbacks, events, transitions
from whisperhub.queues import CALLBACKS, PREPARE

logger = logging.getLogger(__name__)

Status = TranscriptionTask.Status

# A hint this young may be between two places: taken from its queue, not yet noted as
# taken, or read by a worker that is about to claim the row.
LEAST_AGE: Final = timedelta(seconds=2)
# kombu's hash of the messages that were handed out and are not acknowledged, and when
# that was.
UNACKNOWLEDGED: Final = "unacked"
UNACKNOWLEDGED_SINCE: Final = "unacked_index"


def forget_lost_hints(*, thoroughly: bool) -> int:
    """Mark tasks as undispatched whose hint is neither queued nor with a worker.

    The next round of the dispatcher sends them a new one.

    Args:
        thoroughly: read every queue; otherwise only those with fewer messages than
            tasks that wait for one of them.

    Returns:
        How many hints were lost.

    Raises:
        RedisError, OSError: the broker is away.
    """
    waiting = _waiting_by_queue()
    if not waiting:
        return 0
    suspects = [
        name
        for name, tasks in waiting.items()
        if thoroughly or len(tasks) > _length(name)
    ]
    if not suspects:
        return 0
    # The queues before what was handed out: a message moves in this direction.
    known = _ids(message for name in suspects for message in _list(name)) | _ids(
        _handed_out()
    )
    lost = 0
    for name in suspects:
        for task_id, public_id in waiting[name].items():
            if public_id in known:
                continue
            transitions.mark_undispatched(task_id)
            lost += 1
    if lost:
        logger.warning("%d hints were lost in %s", lost, ", ".join(sorted(suspects)))
    return lost


def _waiting_by_queue() -> dict[str, dict[int, str]]:
    """Queue to the tasks that wait for a hint in it: key and public id."""
    rows = TranscriptionTask.objects.filter(
        Q(not_before=None) | Q(not_before__lte=Now()),
        status__in=[Status.PREPARING, Status.QUEUED],
        lease_token=None,
        dispatched_at__lt=Now() - LEAST_AGE,
    ).values_list("pk", "public_id", "status", "model", "effective_priority")
    waiting: dict[str, dict[int, str]] = defaultdict(dict)
    for task_id, public_id, status, model, priority in rows:
        kind = PREPARE if status == Status.PREPARING else model
        waiting[f"{kind}.{priority}"][task_id] = str(public_id)
    return waiting


def _length(name: str) -> int:
    length: Any = events.client().llen(name)
    return int(length)


def _list(name: str) -> Iterable[Any]:
    messages: Any = events.client().lrange(name, 0, -1)
    return [json.loads(message) for message in messages]


def _handed_out() -> Iterable[Any]:
    """The messages that workers were given within the length of a lease.

    What a worker has had for longer without a claim may have died with it: the broker
    keeps such a message for a day. If it waits behind a suspect instead, a second
    message for the same task is harmless.
    """
    oldest = time.time() - settings.LEASE_SECONDS
    tags: Any = events.client().zrangebyscore(UNACKNOWLEDGED_SINCE, oldest, "+inf")
    if not tags:
        return []
    values: Any = events.client().hmget(UNACKNOWLEDGED, tags)
    # Each is a message with the exchange and the key it came by.
    return [json.loads(value)[0] for value in values if value is not None]


def _ids(messages: Iterable[Any]) -> set[str]:
    """The public ids of the rows that messages are about (`<id>-a1`)."""
    return {message["headers"]["id"].rpartition("-")[0] for message in messages}


def forget_lost_callback_hints(*, thoroughly: bool) -> int:
    """Likewise for callbacks that are due; returns how many hints were lost.

    Raises:
        RedisError, OSError: the broker is away.
    """
    waiting = dict(
        Callback.objects.filter(
            state=Callback.State.PENDING,
            next_attempt_at__lte=Now(),
            dispatched_at__lt=Now() - LEAST_AGE,
        ).values_list("pk", "public_id")
    )
    if not waiting or not (thoroughly or len(waiting) > _length(CALLBACKS)):
        return 0
    known = _ids(_list(CALLBACKS)) | _ids(_handed_out())
    lost = [pk for pk, public_id in waiting.items() if str(public_id) not in known]
    for callback_id in lost:
        callbacks.mark_undispatched(callback_id)
    if lost:
        logger.warning("%d hints of callbacks were lost", len(lost))
    return len(lost)
