"""What several changes of a task's state have in common: outcomes and columns."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from django.db.models import Case, F, Value, When

from transcription.models import TranscriptionTask
from transcription.notices import Notice, appended
from transcription.services.storable import storable
from transcription.work.kinds import PUT_BACK, Lease
from whisperhub.sentences import parts_of

Status = TranscriptionTask.Status
# What waits, whether its time has come or not.
WAITING: Final = (Status.PREPARING, Status.QUEUED)
# Never below zero: the column is unsigned, and an error here would keep the dispatcher
# from every other expired lease.
ATTEMPT_GIVEN_BACK: Final = Case(
    When(attempts__gt=0, then=F("attempts") - 1), default=Value(0)
)


class Outcome(StrEnum):
    """What became of a task that a worker had claimed."""

    QUEUED = "queued"
    COMPLETED = "completed"
    RETRIED = "retried"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


def put_back() -> dict[str, Any]:
    """The changes that return a claimed task to where it waited."""
    status = Case(
        When(status=Status.PROCESSING, then=Value(Status.QUEUED.value)),
        default=F("status"),
    )
    return {**PUT_BACK, "status": status, "progress": 0.0}


def error_changes(code: str, message: str) -> dict[str, Any]:
    """The columns of an error; the message in English, and as what it was made of."""
    return {
        "error_code": code,
        "error_message": storable(str(message)),
        "error_parts": storable(parts_of(message)),
    }


def with_notices(lease: Lease, new: Sequence[Notice]) -> dict[str, Any]:
    """The changes that add notices to those of a task.

    Who holds the lease is the only one to write them, so those that are read here are
    still those of the row when the changes are written.
    """
    if not new:
        return {}
    kept = lease.rows.values_list("notices", flat=True).first()
    return {"notices": storable(appended(kept or [], new))}


def locked(rows: Any) -> TranscriptionTask | None:
    """The one row, and nobody else changes it before the transaction ends."""
    task: TranscriptionTask | None = (
        rows.select_for_update()
        .only("owner_id", "status", "model", "priority", "effective_priority")
        .first()
    )
    return task
