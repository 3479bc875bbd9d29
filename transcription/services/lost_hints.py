"""Finds tasks and callbacks whose hint is nowhere any more.

A broker loses messages without a sign: a worker that is killed while it waits takes the
one just handed to it along, and an emptied broker all of them. The row then says that a
hint is on its way, for ever.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class _Awaited:
    """The rows that wait for a hint in one queue.

    Attributes:
        mark_undispatched: notes that the hint of one of these rows is lost.
        rows: key to public id.
    """

    mark_undispatched: Callable[[int], None]
    rows: dict[int, str] = field(default_factory=dict)


def forget_lost_hints(*, thoroughly: bool) -> int:
    """Mark rows as undispatched whose hint is neither queued nor with a worker.

    The next round of the dispatcher sends them a new one.

    Args:
        thoroughly: read every queue; otherwise only those with fewer messages than
            rows that wait for one of them.

    Returns:
        How many hints were lost.

    Raises:
        RedisError, OSError: the broker is away.
    """
    suspects = {
        name: awaited
        for name, awaited in _awaited_by_queue().items()
        if thoroughly or len(awaited.rows) > _length(name)
    }
    if not suspects:
        return 0
    # The queues before what was handed out: a message moves in this direction.
    known = _ids(message for name in suspects for message in _list(name)) | _ids(
        _handed_out()
    )
    lost = 0
    for awaited in suspects.values():
        for pk, public_id in awaited.rows.items():
            if public_id in known:
                continue
            awaited.mark_undispatched(pk)
            lost += 1
    if lost:
        logger.warning("%d hints were lost in %s", lost, ", ".join(sorted(suspects)))
    return lost


def _awaited_by_queue() -> dict[str, _Awaited]:
    """What waits for a hint that was sent, by the name of its queue."""
    found: dict[str, _Awaited] = {}
    tasks = TranscriptionTask.objects.filter(
        Q(not_before=None) | Q(not_before__lte=Now()),
        status__in=[Status.PREPARING, Status.QUEUED],
        lease_token=None,
        dispatched_at__lt=Now() - LEAST_AGE,
    ).values_list("pk", "public_id", "status", "model", "effective_priority")
    for pk, public_id, status, model, priority in tasks:
        kind = PREPARE if status == Status.PREPARING else model
        awaited = found.setdefault(
            f"{kind}.{priority}", _Awaited(transitions.mark_undispatched)
        )
        awaited.rows[pk] = str(public_id)
    due = Callback.objects.filter(
        state=Callback.State.PENDING,
        next_attempt_at__lte=Now(),
        dispatched_at__lt=Now() - LEAST_AGE,
    ).values_list("pk", "public_id")
    if rows := {pk: str(public_id) for pk, public_id in due}:
        found[CALLBACKS] = _Awaited(callbacks.mark_undispatched, rows)
    return found


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
    message for the same row is harmless.
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
