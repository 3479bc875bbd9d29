"""Deletes what nobody needs any more: media of ended tasks, leftovers of crashes."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import timedelta
from typing import Final

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django_celery_results.models import TaskResult

from transcription import storage
from transcription.database import (
    by_itself,
    despite_conflicts,
    despite_outages,
)
from transcription.models import TranscriptionTask, TranscriptPart
from transcription.retries import RETRYABLE
from transcription.services import events
from transcription.services.transitions import ending, restart
from transcription.storage import FileKind, samples_of

logger = logging.getLogger(__name__)

# A folder or upload this old whose task is unknown or ended belongs to nobody; a
# younger one may belong to a request that is just being answered.
ORPHAN_SECONDS: Final = 3600.0
INCOMING_SECONDS: Final = 24 * 3600.0
BATCH: Final = 500
# Room for one upload where the operator sets no limit.
USUAL_UPLOAD_BYTES: Final = 2 * 2**30


def conclude(task: TranscriptionTask, outcome: str) -> None:
    """Do what follows the end of a task: tell those who wait, delete its media.

    Args:
        task: moved to a final state.
        outcome: that state.
    """
    events.announce_finished(task.public_id, outcome)
    discard_media(task, outcome)


def discard_media(task: TranscriptionTask, outcome: str) -> None:
    """Delete what a task that has ended needs no more: what was heard so far, files.

    Its upload may stay: for good, if the operator keeps originals, or for a while, if
    its client may want another try.

    Args:
        task: moved to a final state.
        outcome: that state.
    """
    is_kept = settings.KEEP_ORIGINALS or (
        ending.keeps_media(outcome) and task.source == TranscriptionTask.Source.UPLOAD
    )
    despite_outages(_discard_rest)(task.public_id, outcome, keep_original=is_kept)


@despite_conflicts
def _discard_rest(public_id: uuid.UUID, status: str, *, keep_original: bool) -> bool:
    """Delete what an ended task has beside its original, and that too if it may go.

    A task that failed or was cancelled may start again at any moment; what it makes
    then lies in the same folder and stays.

    Returns:
        False if it has started again, or is gone.
    """
    if status not in RETRYABLE:
        _discard_files_and_parts(public_id, keep_original=keep_original)
        return True
    with transaction.atomic():
        # Locked: whoever has it start again waits until its files are gone.
        ended = TranscriptionTask.objects.select_for_update().filter(
            public_id=public_id, status__in=RETRYABLE
        )
        if ended.only("pk").first() is None:
            return False
        _discard_files_and_parts(public_id, keep_original=keep_original)
    return True


def _discard_files_and_parts(public_id: uuid.UUID, *, keep_original: bool) -> None:
    TranscriptPart.objects.filter(task__public_id=public_id).delete()
    kept = {FileKind.ORIGINAL} if keep_original else set()
    storage.current().discard(public_id, keep=kept)


def discard_expired_media() -> int:
    """Delete the uploads of failed and cancelled tasks that were kept long enough.

    When the volume could not take the largest upload, those that would go next go now.

    Returns:
        How many went.
    """
    if settings.KEEP_ORIGINALS:
        # Of a time when the operator did not.
        return 0
    kept = TranscriptionTask.objects.filter(media_expires_at__isnull=False).order_by(
        "media_expires_at"
    )
    expired = kept.filter(media_expires_at__lte=Now())
    discarded = 0
    for task in expired.only("public_id")[:BATCH]:
        with by_itself("discarding media", task.public_id):
            discarded += _discard_kept(task)
    if not _is_room_short():
        return discarded
    for task in kept.only("public_id")[:BATCH]:
        with by_itself("discarding media", task.public_id):
            discarded += _discard_kept(task)
        if not _is_room_short():
            break
    logger.warning("Room is short: %d kept uploads deleted", discarded)
    return discarded


def _is_room_short() -> bool:
    largest = settings.MAX_UPLOAD_BYTES or USUAL_UPLOAD_BYTES
    wanted = settings.MIN_FREE_BYTES + largest
    return storage.current().free_bytes() < wanted


def _discard_kept(task: TranscriptionTask) -> bool:
    # The row first: from then on nobody starts the task again.
    if not restart.let_media_go(task.pk):
        return False
    storage.current().discard(task.public_id)
    return True


@despite_conflicts
def delete_task(task: TranscriptionTask) -> None:
    """Delete a task with its transcript, callbacks and media.

    A worker that runs it holds a lease on a row that is gone: it writes nothing and
    stops as soon as it hears of it.
    """
    public_id = task.public_id
    with transaction.atomic():
        # Locked before Django looks for what belongs to them: a transcript, or the
        # attempt of a callback, that is stored meanwhile would still point here.
        row = TranscriptionTask.objects.select_for_update().filter(pk=task.pk).first()
        was_running = row is not None and row.lease_token is not None
        list(task.callbacks.select_for_update())
        task.delete()
    if was_running:
        events.announce_stop(public_id)
    storage.current().discard(public_id)


def sweep() -> int:
    """Delete files, and parts of transcripts, that a crash left behind.

    Returns:
        How many folders and uploads went.
    """
    now = time.time()
    swept = 0
    old = [
        stored.task_id
        for stored in storage.current().tasks()
        if now - stored.changed_at > ORPHAN_SECONDS
    ]
    for start in range(0, len(old), BATCH):
        batch = old[start : start + BATCH]
        found: dict[uuid.UUID, tuple[str, bool]] = {
            public_id: (status, settings.KEEP_ORIGINALS or expires_at is not None)
            for public_id, status, expires_at in TranscriptionTask.objects.filter(
                public_id__in=batch
            ).values_list("public_id", "status", "media_expires_at")
        }
        for public_id in batch:
            with by_itself("sweeping folders", public_id):
                status, is_kept = found.get(public_id, ("", False))
                swept += _sweep_folder(public_id, status, is_kept)
    # Of a worker that died between a final state and `discard_media`.
    TranscriptPart.objects.filter(task__status__in=TranscriptionTask.FINAL).delete()
    for upload in storage.unfinished_uploads():
        with by_itself("sweeping uploads", upload.path.name):
            swept += upload.discard_if_unchanged_since(now - INCOMING_SECONDS)
    if swept:
        logger.info("Swept %d leftover files and folders", swept)
    return swept


def _sweep_folder(public_id: uuid.UUID, status: str, is_kept: bool) -> bool:
    """Delete what is left over of a task whose files have not changed for a while.

    Args:
        public_id: the task's.
        status: the task's; empty: there is none.
        is_kept: its original is.
    """
    if not status:
        storage.current().discard(public_id)
        return True
    if status not in TranscriptionTask.FINAL:
        return False
    if is_kept and not storage.current().exists(samples_of(public_id)):
        return False
    return _discard_rest(public_id, status, keep_original=is_kept)


def delete_old_celery_results() -> int:
    """Delete the rows that Celery's own cleaning, a beat task, would delete.

    In batches: django-celery-results deletes everything in one transaction.

    Returns:
        How many went.
    """
    oldest = timezone.now() - timedelta(seconds=current_app.conf.result_expires)
    deleted = 0
    while ids := list(
        TaskResult.objects.filter(date_done__lt=oldest).values_list("pk", flat=True)[
            :BATCH
        ]
    ):
        TaskResult.objects.filter(pk__in=ids).delete()
        deleted += len(ids)
    return deleted
