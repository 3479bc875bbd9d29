"""A waiting task changes its priority, and with it the lane in which it waits."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from transcription.database import despite_conflicts
from transcription.models import TranscriptionTask
from transcription.services import turns
from transcription.services.transitions.changes import WAITING, locked


@despite_conflicts
def raise_priority(task_id: int, *, former: str, higher: str) -> bool:
    """Have a waiting task served with a higher priority; it needs a new hint then.

    The hint in the former queue stays: it is for whoever waits there, or for nobody.

    Returns:
        False if it waits no more, or another dispatcher was first.
    """
    with transaction.atomic():
        rows = TranscriptionTask.objects.filter(
            pk=task_id,
            status__in=WAITING,
            lease_token=None,
            effective_priority=former,
        )
        task = locked(rows)
        if task is None:
            return False
        rows.update(**_enter_lane(task, higher))
    return True


@despite_conflicts
def change_priority(task_id: int, priority: str) -> bool:
    """Have a waiting task served with another priority; it needs a new hint then.

    One that is being prepared gets its hint afterwards. As for `raise_priority`, the
    hint in the former queue does no harm.

    Returns:
        False if it waits no more, or is gone.
    """
    with transaction.atomic():
        rows = TranscriptionTask.objects.filter(
            pk=task_id,
            status__in=WAITING,
            cancel_requested_at=None,
        )
        task = locked(rows)
        if task is None:
            return False
        # Who asks for what is so already does not go to the end again.
        moves = task.effective_priority != priority
        changes = _enter_lane(task, priority) if moves else {"dispatched_at": None}
        rows.update(priority=priority, **changes)
    return True


def _enter_lane(task: TranscriptionTask, priority: str) -> dict[str, Any]:
    """The changes that put a waiting task into the lane of another priority."""
    lane = turns.lane_of(task, priority=priority)
    return {
        "effective_priority": priority,
        "turn": turns.next_turn(lane, task.owner_id),
        "dispatched_at": None,
    }
