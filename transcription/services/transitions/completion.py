"""A stage of a task succeeds: prepared, transcribed, or copied from another task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now

from transcription.database import despite_conflicts
from transcription.models import Transcript, TranscriptionTask, TranscriptPart
from transcription.services import quotas, turns
from transcription.services.storable import storable
from transcription.services.transitions import facts
from transcription.services.transitions.cancelling import finish_cancelled
from transcription.services.transitions.changes import (
    Outcome,
    Status,
    locked,
    with_notices,
)
from transcription.services.transitions.ending import end, end_held
from transcription.work.kinds import NO_LEASE, Lease

if TYPE_CHECKING:
    # At run time these would bring numpy into the web process.
    from transcription.engines.base import ModelInfo, Transcription
    from transcription.media.facts import DecodedAudio


@despite_conflicts
def finish_preparation(
    lease: Lease, decoded: DecodedAudio, *, samples_bytes: int | None = None
) -> Outcome:
    """Move a prepared task to queued, with what is known of its media.

    It goes to the end of its owner's tasks there; its audio is counted for the quota
    of its client. A task that is to be cancelled does not go back to waiting: nobody
    would claim it.

    Args:
        lease: the right to write.
        decoded: what became of its media.
        samples_bytes: what its samples take on the media volume.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    with transaction.atomic():
        held = lease.rows.filter(cancel_requested_at=None)
        task = locked(held)
        if task is not None:
            task.status = Status.QUEUED
            held.update(
                status=Status.QUEUED,
                turn=turns.next_turn(turns.lane_of(task), task.owner_id),
                queued_at=Now(),
                dispatched_at=None,
                not_before=None,
                attempts=0,
                losses=0,
                # Of fetching; what comes now is measured anew.
                progress=0.0,
                error_code="",
                error_message="",
                samples_bytes=samples_bytes,
                **facts.columns_of(decoded),
                **with_notices(lease, decoded.notices),
                **NO_LEASE,
            )
            quotas.charge(lease.row_id, decoded.duration_seconds)
            return Outcome.QUEUED
    return finish_cancelled(lease)


@despite_conflicts
def complete(
    lease: Lease,
    transcription: Transcription,
    *,
    model: ModelInfo,
    inference_seconds: float,
) -> None:
    """Store the transcript and move the task to completed, both or neither.

    Raises:
        LeaseLostError: the lease is no longer ours; nothing was written.
    """
    with transaction.atomic():
        end_held(
            lease,
            Status.COMPLETED,
            progress=1.0,
            progress_at=Now(),
            inference_seconds=inference_seconds,
            detected_language=transcription.language or "",
            error_code="",
            error_message="",
            **with_notices(lease, transcription.notices),
        )
        Transcript.objects.create(
            task_id=lease.row_id,
            text=storable(transcription.text),
            language=transcription.language or "",
            language_probability=storable(transcription.language_probability),
            language_probabilities=storable(transcription.language_probabilities),
            duration_seconds=transcription.duration_seconds,
            duration_after_vad_seconds=transcription.duration_after_vad_seconds,
            segments=storable(
                [segment.as_dict() for segment in transcription.segments]
            ),
            options=storable(transcription.options),
            model=model.as_dict(),
            notices=[str(model.notice)] if model.notice else [],
        )
        TranscriptPart.objects.filter(task_id=lease.row_id).delete()


@despite_conflicts
def complete_from(lease: Lease, source_id: int) -> Outcome | None:
    """Move a task in preparation to completed, with a copy of another's transcript.

    A copy, so that deleting either of them leaves the other whole. A task that is to be
    cancelled is.

    Args:
        lease: the right to write.
        source_id: a completed task of the same owner.

    Returns:
        What became of it; None if the other was deleted, and nothing was written.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    with transaction.atomic():
        # Locked, as whoever deletes it does: what is gone is not brought back.
        source = (
            TranscriptionTask.objects.select_for_update()
            .filter(pk=source_id, status=Status.COMPLETED)
            .first()
        )
        if source is None:
            return None
        if end(
            lease.row_id,
            lease.rows.filter(cancel_requested_at=None),
            Status.COMPLETED,
            progress=1.0,
            progress_at=Now(),
            reused_from=source.public_id,
            detected_language=source.detected_language,
            notices=source.notices,
            error_code="",
            error_message="",
            **facts.copied_from(source),
        ):
            facts.copy_transcript(source, task_id=lease.row_id)
            return Outcome.COMPLETED
    return finish_cancelled(lease)
