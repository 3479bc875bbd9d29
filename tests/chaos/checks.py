"""What must be true of tasks whose service was harmed."""

from __future__ import annotations

from collections.abc import Collection

from tests.chaos.service import Service
from transcription.models import Transcript, TranscriptionTask, TranscriptPart


def check_done(
    service: Service, task_ids: list[str], *, losses: Collection[int] = (0,)
) -> None:
    """All completed, at their first attempt, with one transcript and nothing left.

    Args:
        service: whose tasks they are.
        task_ids: theirs.
        losses: how many workers each may have lost.
    """
    rows = service.wait_for_status(task_ids, TranscriptionTask.Status.COMPLETED)
    assert [row.attempts for row in rows] == [1] * len(rows)
    assert {row.losses for row in rows} <= set(losses)
    assert not any(row.lease_token for row in rows)
    of_these = {"task__public_id__in": task_ids}
    transcripts = Transcript.objects.using(service.database).filter(**of_these)
    assert transcripts.count() == len(task_ids)
    parts = TranscriptPart.objects.using(service.database)
    assert not parts.filter(**of_these).exists()
