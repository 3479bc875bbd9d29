"""Whose turn it is: between the owners of one lane, tasks start in turn.

A lane is a queue: of a stage or a model, and of one priority. A row gets its turn when
it enters a lane, and the least turn of the lane is served first. It is start-time fair
queueing (Goyal, Vin and Cheng, SIGCOMM 1996) in which every task weighs the same: a
turn is behind all others of its owner, and not before the lane's clock, which stands at
the greatest turn that has started. So who was away is not owed anything, and who sends
one task at a time gets as many starts as who sends thousands.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import F, Min, Q
from django.db.models.functions import Greatest, Now

from transcription.database import by_itself, despite_conflicts, despite_outages
from transcription.models import OwnerInLane, TranscriptionTask
from whisperhub.queues import PREPARE, queue_name

logger = logging.getLogger(__name__)

# A task that has no pause before its next attempt, or whose pause is over.
MAY_START: Final = Q(not_before=None) | Q(not_before__lte=Now())
# So many rows of an owner move up at once; those behind them do when they are first.
GAP_BATCH: Final = 1000


@dataclass(frozen=True)
class Chosen:
    """The task whose turn it is, as it was read: another worker may take it first.

    Attributes:
        losses: how many workers died with it.
    """

    lane: str
    task_id: int
    losses: int

    @property
    def still_first(self) -> Q:
        """What must be true of it to be claimed, beyond that it waits.

        One without a hint in this lane would use up the hint of another task, and one
        that was lost since then may have become a suspect.
        """
        return MAY_START & Q(
            lane=self.lane, losses=self.losses, dispatched_at__isnull=False
        )

    @property
    def still_aside(self) -> Q:
        """The same of one that this process has set aside."""
        return Q(losses=self.losses, dispatched_at__isnull=True, not_before__gt=Now())


def lane_of(task: TranscriptionTask, *, priority: str | None = None) -> str:
    """The lane of the stage that a task is in, whether it waits there or runs.

    Args:
        task: its row, with status, model and effective priority.
        priority: another one than it has now.
    """
    preparing = task.status == TranscriptionTask.Status.PREPARING
    return queue_name(
        PREPARE if preparing else task.model, priority or task.effective_priority
    )


@despite_outages
def first_in(lane: str, *, passing_over: int | None = None) -> Chosen | None:
    """The task of a lane that may start and whose turn it is; None if there is none.

    Only rows with a hint on its way are looked at. Then no more of them wait than
    there are hints, although a hint is for whoever is next.

    Args:
        lane: the queue.
        passing_over: an owner whose tasks may not start here now.
    """
    waiting = TranscriptionTask.objects.filter(lane=lane)
    if passing_over is not None:
        # Not to read all rows of an owner who waits there alone: two short looks into
        # the index of owners.
        if not (
            waiting.filter(owner_id__lt=passing_over).exists()
            or waiting.filter(owner_id__gt=passing_over).exists()
        ):
            return None
        waiting = waiting.exclude(owner_id=passing_over)
    found = (
        waiting.filter(MAY_START, dispatched_at__isnull=False, cancel_requested_at=None)
        .order_by("turn", "id")
        .values_list("pk", "losses")
        .first()
    )
    return Chosen(lane, *found) if found else None


def next_turn(lane: str, owner_id: int) -> int:
    """The turn of a task that enters a lane now, in the transaction that writes it.

    Until then nobody else gives a turn in this lane to the same owner.
    """
    _lock(lane, owner_id)
    return turn_to_come(lane, owner_id)


def turn_to_come(lane: str, owner_id: int) -> int:
    """The turn that a task of an owner would get in a lane if it came now."""
    last = (
        TranscriptionTask.objects.filter(lane=lane, owner_id=owner_id)
        .order_by("-turn")
        .values_list("turn", flat=True)
        .first()
        or 0
    )
    return max(last + 1, _next_started(lane, owner_id))


def note_start(task_id: int) -> None:
    """Note the turn of a task that was just claimed, in the same transaction."""
    task = TranscriptionTask.objects.only(
        "owner_id", "turn", "status", "model", "effective_priority"
    ).get(pk=task_id)
    lane = lane_of(task)
    mine = OwnerInLane.objects.filter(lane=lane, owner_id=task.owner_id)
    # A task that starts once more, after a loss, has an old turn.
    later = {"started_turn": Greatest(F("started_turn"), task.turn)}
    if not mine.update(**later):
        _enter(lane, task.owner_id)
        mine.update(**later)


def close_gaps() -> int:
    """Have owners move up into the turns they gave away; returns how many did.

    Cancelled tasks, and those that changed their priority, leave the turns behind them
    empty. Whoever comes later would be served before what is left of that owner.
    """
    heads = list(
        TranscriptionTask.objects.filter(lane__isnull=False)
        .order_by()
        .values_list("lane", "owner_id")
        .annotate(first=Min("turn"))
    )
    # Who is alone in a lane waits for nobody.
    owners = Counter(lane for lane, _, _ in heads)
    clocks = {lane: _clock(lane) for lane, count in owners.items() if count > 1}
    late = [
        (lane, owner_id, first)
        for lane, owner_id, first in heads
        if first > clocks.get(lane, first)
    ]
    started = {
        (lane, owner_id): turn
        for lane, owner_id, turn in OwnerInLane.objects.filter(
            lane__in={lane for lane, _, _ in late}
        ).values_list("lane", "owner_id", "started_turn")
    }
    closed = 0
    for lane, owner_id, first in late:
        if first > started.get((lane, owner_id), 0) + 1:
            with by_itself("closing gaps", f"user {owner_id} in {lane}"):
                closed += _close_gap(lane, owner_id)
    return closed


@despite_conflicts
def _close_gap(lane: str, owner_id: int) -> bool:
    waiting = TranscriptionTask.objects.filter(lane=lane, owner_id=owner_id)
    with transaction.atomic():
        _lock(lane, owner_id)
        turns = list(
            waiting.order_by("turn").values_list("turn", flat=True)[:GAP_BATCH]
        )
        if not turns:
            return False
        gap = turns[0] - _next_started(lane, owner_id)
        if gap <= 0:
            return False
        waiting.filter(turn__lte=turns[-1]).update(turn=F("turn") - gap)
    logger.info("User %s moved up by %d turns in %s", owner_id, gap, lane)
    return True


def _next_started(lane: str, owner_id: int) -> int:
    """The least turn that a task of an owner may have which has not started."""
    started = (
        OwnerInLane.objects.filter(lane=lane, owner_id=owner_id)
        .values_list("started_turn", flat=True)
        .first()
        or 0
    )
    return max(_clock(lane), started + 1)


def _lock(lane: str, owner_id: int) -> None:
    """Be the only one who gives turns in a lane to an owner, in this transaction."""
    mine = OwnerInLane.objects.select_for_update().filter(lane=lane, owner_id=owner_id)
    if mine.first() is None:
        _enter(lane, owner_id)
        mine.get()


def _clock(lane: str) -> int:
    return (
        OwnerInLane.objects.filter(lane=lane)
        .order_by("-started_turn")
        .values_list("started_turn", flat=True)
        .first()
        or 0
    )


def _enter(lane: str, owner_id: int) -> None:
    # Somebody else may do so at the same time.
    OwnerInLane.objects.bulk_create(
        [OwnerInLane(lane=lane, owner_id=owner_id)], ignore_conflicts=True
    )
