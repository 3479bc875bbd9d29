"""Tasks that waited too long rise, so that strict priorities starve nobody.

How far a task has risen follows from its two priorities, and how long it waited from
the moment it was queued: each `AGEING_SECONDS` are worth one step.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from transcription.database import by_itself
from transcription.models import TranscriptionTask
from transcription.services.transitions import priorities
from whisperhub.queues import PRIORITIES

logger = logging.getLogger(__name__)

Status = TranscriptionTask.Status

BATCH: Final = 500


def raise_aged() -> int:
    """Raise waiting tasks by one step each if they are due; returns how many.

    The dispatcher sends them a hint for the queue they are in now.
    """
    if not settings.AGEING_SECONDS:
        return 0
    aged = (
        TranscriptionTask.objects.filter(
            Q(not_before=None) | Q(not_before__lte=Now()),
            status__in=[Status.PREPARING, Status.QUEUED],
            lease_token=None,
        )
        # In preparation it has not been queued yet.
        .annotate(waits_since=Coalesce("queued_at", "retried_at", "created_at"))
        .filter(_due())
        # Within a lane they keep their order.
        .order_by("turn", "id")
        .values_list("pk", "effective_priority")[:BATCH]
    )
    raised = 0
    for task_id, former in aged:
        higher = PRIORITIES[PRIORITIES.index(former) - 1]
        with by_itself("ageing", task_id):
            raised += priorities.raise_priority(task_id, former=former, higher=higher)
    if raised:
        logger.info("Raised %d tasks that waited long", raised)
    return raised


def _due() -> Q:
    """Which tasks have waited long enough for the step they are at."""
    due = Q()
    for asked, priority in enumerate(PRIORITIES):
        for now, effective in enumerate(PRIORITIES[: asked + 1]):
            if now == 0:
                continue  # There is nothing above.
            wait = timedelta(seconds=settings.AGEING_SECONDS * (asked - now + 1))
            due |= Q(
                priority=priority,
                effective_priority=effective,
                waits_since__lte=Now() - wait,
            )
    return due
