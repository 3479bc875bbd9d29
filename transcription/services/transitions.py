"""Every change of a task's state: one conditional UPDATE each.

An UPDATE that changes no row means that another process was first, or that this one no
longer holds the lease; the caller then does nothing. Where a function tries several,
each states its whole condition: another process may have changed the row since the one
before found nothing. The arrows are drawn in docs/architecture.md. All moments come
from the database's clock, so that workers on several machines agree.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import (
    Case,
    Count,
    DateTimeField,
    F,
    IntegerField,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Now

from transcription.database import after_now, despite_conflicts, despite_outages
from transcription.models import Transcript, TranscriptionTask, TranscriptPart
from transcription.notices import Notice, appended
from transcription.retries import RETRYABLE, retryable
from transcription.services import callbacks, quotas, turns
from transcription.services.storable import storable
from transcription.services.turns import MAY_START
from transcription.work.kinds import NO_LEASE, Lease, WorkKind
from transcription.work.publishing import Hint
from whisperhub.queues import PRIORITIES
from whisperhub.sentences import Sentence, parts_of
from whisperhub.web.request_id import named_by_request

if TYPE_CHECKING:
    # At run time these would bring numpy into the web process.
    from transcription.engines.base import ModelInfo, Segment, Transcription
    from transcription.media.facts import DecodedAudio

Status = TranscriptionTask.Status

# A task may lose this many workers. After that it runs alone in its process, so that
# the next loss is its own fault and nobody else's.
LOSSES_FORGIVEN: Final = 2
# Tasks that failed together, of one cause, do not come back together.
RETRY_JITTER: Final = 0.25

# Never below zero: the column is unsigned, and an error here would keep the dispatcher
# from every other expired lease.
ATTEMPT_GIVEN_BACK: Final = Case(
    When(attempts__gt=0, then=F("attempts") - 1), default=Value(0)
)
PREPARE_TASK: Final = "transcription.tasks.prepare_media"
INFERENCE_TASK: Final = "transcription.tasks.run_transcription"
PRIORITY_RANK: Final = Case(
    *(
        When(effective_priority=priority, then=Value(rank))
        for rank, priority in enumerate(PRIORITIES)
    ),
    output_field=IntegerField(),
)
# What is known of the media; the same for every task with the same bytes.
MEDIA_FACTS: Final = (
    "media_format",
    "audio_codec",
    "sample_rate",
    "channels",
    "has_video",
    "media_duration_seconds",
    "audio_tracks",
)
# What of a transcript is copied to another task.
TRANSCRIPT_FIELDS: Final = tuple(
    field.attname
    for field in Transcript._meta.concrete_fields
    if field.attname not in ("task_id", "created_at")
)
# What a task that begins anew has not yet reached.
MOMENTS_OF_AN_ATTEMPT: Final = (
    "preparation_started_at",
    "queued_at",
    "started_at",
    "finished_at",
    "progress_at",
    "dispatched_at",
    "not_before",
    "cancel_requested_at",
    "media_expires_at",
)
# What waits, whether its time has come or not.
WAITING: Final = (Status.PREPARING, Status.QUEUED)
WORKER_LOST: Final = "worker_lost"
WORKER_LOST_MESSAGE: Final = Sentence(
    "The worker process died each time it worked on this file. Convert the file to "
    "another format and submit it again."
)


class Outcome(StrEnum):
    """What became of a task that a worker had claimed."""

    QUEUED = "queued"
    COMPLETED = "completed"
    RETRIED = "retried"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True)
class Served:
    """What a worker did with a hint: which task it was for is known only then.

    Attributes:
        public_id: the task's.
    """

    public_id: uuid.UUID
    outcome: Outcome


class TaskWork(WorkKind[TranscriptionTask]):
    """Tasks as held work: media workers and inference workers hold them.

    A hint is for a lane, and wakes a worker for the task of that lane whose turn it is.
    So there are as many hints in a lane as tasks wait there for one.
    """

    name = "task"
    model = TranscriptionTask
    cancel_column = "cancel_requested_at"
    hint_columns = (
        "public_id",
        "status",
        "model",
        "effective_priority",
        "attempts",
        "losses",
    )

    def may_start(self) -> Q:
        """A condition: it waits, nobody holds it, and its pause is over."""
        return MAY_START & Q(status__in=WAITING, lease_token=None)

    def hint(self, row: TranscriptionTask) -> Hint:
        """The message that wakes a worker for the lane of a task."""
        preparing = row.status == Status.PREPARING
        start = row.attempts + row.losses + 1
        lane = turns.lane_of(row)
        return Hint(
            task=PREPARE_TASK if preparing else INFERENCE_TASK,
            args=[lane],
            message_id=f"{row.public_id}-{'p' if preparing else 'a'}{start}",
            queue_name=lane,
        )

    def take_back(self, row: TranscriptionTask) -> str | None:
        """Take a task, as it was read, from a worker whose lease has run out."""
        token = row.lease_token
        return None if token is None else take_back(row.pk, token)

    def put_back(self) -> dict[str, Any]:
        """The changes that return a claimed task to where it waited."""
        status = Case(
            When(status=Status.PROCESSING, then=Value(Status.QUEUED.value)),
            default=F("status"),
        )
        return {**super().put_back(), "status": status, "progress": 0.0}

    def unsent(self, limit: int) -> Iterator[int]:
        """The tasks that may start and have no hint: of each lane who is next."""
        waiting = self.rows.filter(self.may_start(), dispatched_at=None)
        lanes = list(
            waiting.order_by(PRIORITY_RANK)
            .values("status", "model", "effective_priority")
            .distinct()
        )
        left = limit
        for position, lane in enumerate(lanes):
            # Turns of different lanes do not compare: each has its share of a batch.
            share = -(-left // (len(lanes) - position))
            # Who is next comes first: without a hint nobody is served.
            ids = waiting.filter(**lane).order_by("turn", "id")[:share]
            for task_id in ids.values_list("pk", flat=True):
                left -= 1
                yield task_id

    def waiting_in_queues(self) -> dict[str, int]:
        """How many tasks wait in each lane, with a hint or without."""
        waiting = TranscriptionTask.objects.filter(lane__isnull=False).order_by()
        return dict(waiting.values_list("lane").annotate(Count("pk")))

    def hinted_in(self, queue_name: str) -> QuerySet[TranscriptionTask]:
        """The tasks of a lane whose hints were sent, those with the last turns first.

        The others keep theirs meanwhile, and nobody is served without.
        """
        return TranscriptionTask.objects.filter(
            lane=queue_name, dispatched_at__isnull=False
        ).order_by("-turn", "-id")


TASKS: Final = TaskWork()


# --- Claims --------------------------------------------------------------------------


@despite_outages
@despite_conflicts
def claim_preparation(
    task_id: int, *, owner: str, only_if: Q = MAY_START
) -> Lease | None:
    """Take a waiting task into preparation. None: another worker was first.

    Args:
        task_id: the row.
        owner: the process.
        only_if: what must be true of the row, beyond that it waits.
    """
    return _claim(
        task_id,
        only_if,
        owner=owner,
        waiting=Status.PREPARING,
        preparation_started_at=Now(),
    )


@despite_outages
@despite_conflicts
def claim_inference(
    task_id: int, *, owner: str, only_if: Q = MAY_START
) -> Lease | None:
    """Move a queued task to processing. None: another worker was first.

    Args:
        task_id: the row.
        owner: the process.
        only_if: what must be true of the row, beyond that it waits.
    """
    return _claim(
        task_id,
        only_if,
        owner=owner,
        waiting=Status.QUEUED,
        status=Status.PROCESSING,
        started_at=Now(),
    )


def _claim(
    task_id: int, only_if: Q, *, owner: str, waiting: str, **changes: Any
) -> Lease | None:
    with transaction.atomic():
        lease = TASKS.claim(
            task_id,
            only_if & Q(status=waiting, lease_token=None, cancel_requested_at=None),
            owner=owner,
            attempts=F("attempts") + 1,
            **changes,
        )
        if lease:
            turns.note_start(task_id)
    return lease


@despite_outages
@despite_conflicts
def set_aside(task_id: int, *, only_if: Q) -> bool:
    """Keep a queued task from other workers until this one can run it.

    It is as in a pause after a failure: if this process dies, the dispatcher sends a
    hint when the pause is over, which is as long as a lease.

    Returns:
        False if another worker was first.
    """
    return bool(
        TranscriptionTask.objects.filter(
            only_if,
            pk=task_id,
            status=Status.QUEUED,
            lease_token=None,
            cancel_requested_at=None,
        ).update(dispatched_at=None, not_before=TASKS.lease_end())
    )


# --- While the lease is held ---------------------------------------------------------


@despite_conflicts
def record_progress(
    lease: Lease, share: float, *, part: int = 0, segments: Sequence[Segment] = ()
) -> None:
    """Note how much of the media is done, and what was heard in it.

    Args:
        lease: the right to write.
        share: 0 to 1.
        part: how many times segments were noted before, in this attempt.
        segments: those that have become final since then, in order.

    Raises:
        LeaseLostError: the lease is no longer ours; nothing was written.
    """
    with transaction.atomic():
        lease.write(progress=min(max(share, 0.0), 1.0), progress_at=Now())
        if not segments:
            return
        if part == 0:
            # What an earlier attempt had heard.
            TranscriptPart.objects.filter(task_id=lease.row_id).delete()
        TranscriptPart.objects.update_or_create(
            task_id=lease.row_id,
            number=part,
            defaults={
                "segments": storable([segment.as_dict() for segment in segments])
            },
        )


@despite_conflicts
def record_fetch(
    lease: Lease,
    share: float,
    *,
    size_bytes: int,
    file_name: str = "",
    sha256: str = "",
) -> None:
    """Note how much of a link's file has come.

    Args:
        lease: the right to write.
        share: 0 to 1; 0 as long as the length is not known.
        size_bytes: that have come.
        file_name: what the file is called; empty: nothing new.
        sha256: of the whole file; empty: not known yet.

    Raises:
        LeaseLostError: the lease is no longer ours; nothing was written.
    """
    known = {"file_name": file_name, "media_sha256": sha256}
    lease.write(
        progress=min(max(share, 0.0), 1.0),
        progress_at=Now(),
        file_size_bytes=size_bytes,
        **{name: value for name, value in known.items() if value},
    )


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
    facts = decoded.facts
    with transaction.atomic():
        held = lease.rows.filter(cancel_requested_at=None)
        task = _locked(held)
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
                media_format=facts.format_name[:50],
                audio_codec=(facts.audio_codec or "")[:50],
                sample_rate=facts.sample_rate,
                channels=facts.channels,
                has_video=facts.has_video,
                media_duration_seconds=decoded.duration_seconds,
                samples_bytes=samples_bytes,
                audio_tracks=storable(
                    [
                        {**track.as_dict(), "taken": track.index == decoded.track}
                        for track in decoded.tracks
                    ]
                ),
                **_with_notices(lease, decoded.notices),
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
        _end_held(
            lease,
            Status.COMPLETED,
            progress=1.0,
            progress_at=Now(),
            inference_seconds=inference_seconds,
            detected_language=transcription.language or "",
            error_code="",
            error_message="",
            **_with_notices(lease, transcription.notices),
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
        if _end(
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
            **{name: getattr(source, name) for name in MEDIA_FACTS},
        ):
            found = Transcript.objects.get(task_id=source_id)
            Transcript.objects.create(
                task_id=lease.row_id,
                **{name: getattr(found, name) for name in TRANSCRIPT_FIELDS},
            )
            return Outcome.COMPLETED
    return finish_cancelled(lease)


@despite_conflicts
def retry_or_fail(
    lease: Lease, *, code: str, message: str, at_least_seconds: float = 0.0
) -> Outcome:
    """Put a task back for another attempt, or fail it after the last one.

    A task that is to be cancelled does not go back to waiting: nobody would claim it.

    Args:
        lease: the right to write.
        code: stable, for programs.
        message: a sentence for people, without server paths.
        at_least_seconds: before the next attempt, however early it would be due.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    error = _error(code, message)
    if TASKS.hand_back(
        lease,
        Q(cancel_requested_at=None, attempts__lt=settings.MAX_ATTEMPTS),
        not_before=_next_attempt(at_least_seconds),
        **error,
    ):
        return Outcome.RETRIED
    spent = lease.rows.filter(
        cancel_requested_at=None, attempts__gte=settings.MAX_ATTEMPTS
    )
    if _end(lease.row_id, spent, Status.FAILED, **error):
        return Outcome.FAILED
    return finish_cancelled(lease)


@despite_conflicts
def fail(lease: Lease, *, code: str, message: str) -> Outcome:
    """Move a task to failed.

    Args:
        lease: the right to write.
        code: stable, for programs.
        message: a sentence for people in English, without server paths.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    _end_held(lease, Status.FAILED, **_error(code, message))
    return Outcome.FAILED


@despite_conflicts
def finish_cancelled(lease: Lease) -> Outcome:
    """Move a running task whose cancellation was asked for to cancelled.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    _end_held(lease, Status.CANCELLED)
    return Outcome.CANCELLED


def _end(task_id: int, rows: Any, status: str, **changes: Any) -> bool:
    """Move a task to a final state, and note its callback; both or neither.

    Every arrow into a final state goes through here.

    Args:
        task_id: the row.
        rows: that row, under the conditions of the arrow.
        status: completed, failed or cancelled.
        changes: what else is written.
    """
    # No savepoint: whoever has a transaction open loses all of it with this.
    with transaction.atomic(savepoint=False):
        ended = rows.update(
            status=status,
            finished_at=Now(),
            media_expires_at=_media_end(status),
            # They are deleted with the end.
            samples_bytes=None,
            **changes,
            **NO_LEASE,
        )
        if ended:
            callbacks.record(task_id, status)
    return bool(ended)


def _media_end(status: str) -> Any:
    """An expression: until when the upload of a task with this end is kept.

    What came by a link is fetched once more where it is needed.
    """
    if not keeps_media(status):
        return None
    return Case(
        When(
            source=TranscriptionTask.Source.UPLOAD,
            then=after_now(timedelta(hours=settings.KEEP_FAILED_HOURS)),
        ),
        output_field=DateTimeField(),
    )


def keeps_media(status: str) -> bool:
    """Whether an upload is kept for a while when its task ends so; not for good."""
    return (
        status in RETRYABLE
        and settings.KEEP_FAILED_HOURS > 0
        and not settings.KEEP_ORIGINALS
    )


def _end_held(lease: Lease, status: str, **changes: Any) -> None:
    if not _end(lease.row_id, lease.rows, status, **changes):
        raise lease.lost_error()


@despite_conflicts
def hand_back(lease: Lease) -> Outcome:
    """Return a task to where it waited; neither an attempt nor a loss is counted.

    For a process that ends in good order, or for another job's fault.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    if TASKS.hand_back(lease, Q(cancel_requested_at=None), attempts=ATTEMPT_GIVEN_BACK):
        return Outcome.RETRIED
    return finish_cancelled(lease)


@despite_conflicts
def postpone(lease: Lease, *, code: str, message: str, seconds: float) -> Outcome:
    """Put a task back that cannot go on now; neither an attempt nor a loss is counted.

    Args:
        lease: the right to write.
        code: what it waits for, for programs.
        message: the same as a sentence for people.
        seconds: how long it waits before it is looked at again.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """
    if TASKS.hand_back(
        lease,
        Q(cancel_requested_at=None),
        attempts=ATTEMPT_GIVEN_BACK,
        not_before=after_now(timedelta(seconds=seconds)),
        **_error(code, message),
    ):
        return Outcome.RETRIED
    return finish_cancelled(lease)


def _next_attempt(at_least_seconds: float) -> Any:
    """An expression: when a task may be tried again, by the attempts it has spent."""
    more = 1 + random.uniform(0, RETRY_JITTER)  # noqa: S311  (no secret)
    *first, last = (
        after_now(timedelta(seconds=max(seconds * more, at_least_seconds)))
        for seconds in settings.RETRY_SECONDS
    )
    return Case(
        *(When(attempts=number, then=wait) for number, wait in enumerate(first, 1)),
        default=last,
    )


def _error(code: str, message: str) -> dict[str, Any]:
    return {
        "error_code": code,
        "error_message": storable(str(message)),
        "error_parts": storable(parts_of(message)),
    }


def _with_notices(lease: Lease, new: Sequence[Notice]) -> dict[str, Any]:
    """The changes that add notices to those of a task.

    Who holds the lease is the only one to write them, so those that are read here are
    still those of the row when the changes are written.
    """
    if not new:
        return {}
    kept = lease.rows.values_list("notices", flat=True).first()
    return {"notices": storable(appended(kept or [], new))}


def _locked(rows: Any) -> TranscriptionTask | None:
    """The one row, and nobody else changes it before the transaction ends."""
    task: TranscriptionTask | None = (
        rows.select_for_update()
        .only("owner_id", "status", "model", "priority", "effective_priority")
        .first()
    )
    return task


# --- From outside --------------------------------------------------------------------


@despite_conflicts
def cancel(task_id: int) -> bool:
    """Cancel a waiting task at once; ask the worker of a running one to stop.

    Returns:
        False if the task was in a final state already, or is gone.
    """
    task = TranscriptionTask.objects.filter(pk=task_id)
    while True:
        waiting = task.filter(status__in=WAITING, lease_token=None)
        if _end(task_id, waiting, Status.CANCELLED, cancel_requested_at=Now()):
            return True
        if task.filter(
            status__in=[Status.PREPARING, Status.PROCESSING],
            lease_token__isnull=False,
            cancel_requested_at=None,
        ).update(cancel_requested_at=Now()):
            return True
        unfinished = task.exclude(status__in=TranscriptionTask.FINAL)
        if not unfinished.exists():
            return False
        if unfinished.filter(cancel_requested_at__isnull=False).exists():
            return True
        # Between the two updates its worker put it back, or another claimed it.


@despite_conflicts
def take_back(
    task_id: int, token: uuid.UUID, *, only_expired: bool = True
) -> Outcome | None:
    """Take a task from a worker that died or stopped renewing its lease.

    The attempt is not spent: it was the worker's fault, until too many died of it.

    Args:
        task_id: the row.
        token: the lease as it was read; a task claimed anew since then stays.
        only_expired: leave a lease that still runs; False when the worker is known
            to be dead.

    Returns:
        What became of the task; None if it is no longer under this lease.
    """
    taken = TranscriptionTask.objects.filter(pk=task_id, lease_token=token)
    if only_expired:
        taken = taken.filter(lease_expires_at__lt=Now())
    cancelled = taken.filter(cancel_requested_at__isnull=False)
    wanted = taken.filter(cancel_requested_at=None)
    while True:
        if _end(task_id, cancelled, Status.CANCELLED):
            return Outcome.CANCELLED
        if wanted.filter(losses__lt=LOSSES_FORGIVEN).update(
            **TASKS.put_back(), losses=F("losses") + 1, attempts=ATTEMPT_GIVEN_BACK
        ):
            return Outcome.RETRIED
        if _end(
            task_id,
            wanted.filter(losses__gte=LOSSES_FORGIVEN),
            Status.FAILED,
            losses=F("losses") + 1,
            **_error(WORKER_LOST, WORKER_LOST_MESSAGE),
        ):
            return Outcome.FAILED
        if not taken.exists():
            return None
        # Between two of the updates its client cancelled it, or its lease ran out.


def count_loss(lease: Lease) -> Outcome | None:
    """Take a task from a process of this worker that has died over it.

    Returns:
        What became of the task; None if it is no longer under this lease.
    """
    return take_back(lease.row_id, lease.token, only_expired=False)


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
        task = _locked(rows)
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
        task = _locked(rows)
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


@despite_conflicts
def start_again(task_id: int, *, quota_account_id: int | None = None) -> bool:
    """Move a failed or cancelled task to preparing, as if it had just come.

    What was to be told of its former end is not told any more.

    Args:
        task_id: the row.
        quota_account_id: what it is counted for from now on; None: as before.

    Returns:
        False if it is in another state, or it or its media are gone.
    """
    with transaction.atomic():
        rows = TranscriptionTask.objects.filter(retryable(), pk=task_id)
        task = _locked(rows)
        if task is None:
            return False
        task.status = Status.PREPARING
        lane = turns.lane_of(task, priority=task.priority)
        counted_for = {"quota_account_id": quota_account_id} if quota_account_id else {}
        rows.update(
            status=Status.PREPARING,
            effective_priority=task.priority,
            turn=turns.next_turn(lane, task.owner_id),
            retried_at=Now(),
            attempts=0,
            losses=0,
            progress=0.0,
            notices=[],
            error_code="",
            error_message="",
            **counted_for,
            **named_by_request(),
            **dict.fromkeys(MOMENTS_OF_AN_ATTEMPT),
            **NO_LEASE,
        )
        callbacks.withdraw(task_id)
    return True


@despite_conflicts
def let_media_go(task_id: int) -> bool:
    """Note that the kept upload of an ended task is about to be deleted.

    Returns:
        False if the task has started again, or somebody else deletes it.
    """
    return bool(
        TranscriptionTask.objects.filter(
            pk=task_id, status__in=RETRYABLE, media_expires_at__isnull=False
        ).update(media_expires_at=None)
    )
