"""What is deleted, and what is not."""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tests.integration.databases import in_threads
from tests.integration.steps import STATES, STEPS, fail
from tests.support.factories import TaskFactory
from tests.support.stored_files import ON_DISK, TaskFiles, tasks_root
from transcription import storage
from transcription.errors import MediaGoneError
from transcription.models import Transcript, TranscriptionTask, TranscriptPart
from transcription.services import cancellation, events, retention, steering
from transcription.services.transitions import cancelling, claims, restart
from workers.dispatcher import Dispatcher

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_storage")]


def fill(public_id: uuid.UUID, *, hours_old: float = 0) -> TaskFiles:
    files = TaskFiles(public_id)
    files.create()
    files.original.write_bytes(b"media")
    files.samples.write_bytes(b"samples")
    files.make_old(hours_old)
    return files


def make_old(path: Path, hours: float) -> None:
    moment = time.time() - hours * 3600
    os.utime(path, (moment, moment))


def test_the_media_of_an_ended_task_go():
    files = fill(TaskFactory(completed=True).public_id)

    retention.discard_media(TranscriptionTask.objects.get(), "completed")

    assert not files.exist()


@ON_DISK
def test_what_a_killed_decoder_left_goes_too():
    files = fill(TaskFactory(completed=True).public_id)
    (files.path / "samples.s16le.1a2b3c4d.part").touch()

    retention.discard_media(TranscriptionTask.objects.get(), "completed")

    assert not files.exist()


def test_what_was_heard_goes_though_its_worker_died_before_it_could_delete_it():
    ended, running = TaskFactory(failed=True), TaskFactory(processing=True)
    for task in (ended, running):
        TranscriptPart.objects.create(task=task, number=0)

    retention.sweep()

    assert [part.task for part in TranscriptPart.objects.all()] == [running]


def test_originals_stay_where_the_operator_keeps_them(settings):
    settings.KEEP_ORIGINALS = True
    files = fill(TaskFactory(completed=True).public_id)

    retention.discard_media(TranscriptionTask.objects.get(), "completed")

    assert files.original.exists()
    assert not files.samples.exists()


def test_discarding_twice_does_no_harm():
    task = TaskFactory(completed=True)
    fill(task.public_id)

    retention.discard_media(task, "completed")
    retention.discard_media(task, "completed")


def test_a_deleted_task_leaves_neither_row_nor_file(settings):
    settings.KEEP_ORIGINALS = True
    task = TaskFactory(completed=True)
    files = fill(task.public_id)

    retention.delete_task(task)

    assert not TranscriptionTask.objects.exists()
    assert not Transcript.objects.exists()
    assert not files.exist()


def test_the_sweep_takes_old_folders_of_no_task():
    files = fill(uuid.uuid4(), hours_old=2)

    assert retention.sweep() == 1
    assert not files.exist()


def test_the_sweep_leaves_young_folders_of_no_task():
    files = fill(uuid.uuid4(), hours_old=0.5)

    assert retention.sweep() == 0
    assert files.original.exists()


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_the_sweep_takes_what_an_ended_task_left(state):
    task = TaskFactory(**{state: True}, media_expires_at=None)
    files = fill(task.public_id, hours_old=2)

    assert retention.sweep() == 1
    assert not files.exist()


@pytest.mark.parametrize("state", ["prepared", "leased", "queued", "processing"])
def test_the_sweep_leaves_what_a_task_still_needs(state):
    files = fill(TaskFactory(**{state: True}).public_id, hours_old=48)

    assert retention.sweep() == 0
    assert files.original.exists()
    assert files.samples.exists()


def test_the_sweep_leaves_kept_originals_and_counts_nothing_twice(settings):
    settings.KEEP_ORIGINALS = True
    files = fill(TaskFactory(completed=True).public_id, hours_old=2)

    assert retention.sweep() == 1
    files.make_old(2)
    assert retention.sweep() == 0

    assert files.original.exists()
    assert not files.samples.exists()


# --- Media that are kept for another try ----------------------------------------------


def ended_with(step: Any, state: str, **values: Any) -> tuple[Any, TaskFiles]:
    """A task that has just ended in the usual way, with what is left of its files."""
    task = TaskFactory(**STATES[state], **values)
    files = fill(task.public_id)
    outcome = step(task)
    task.refresh_from_db()
    retention.conclude(task, outcome)
    return task, files


@pytest.mark.parametrize(
    ("step", "state"),
    [
        pytest.param(fail, "preparing, leased", id="failed-in-preparation"),
        pytest.param(fail, "processing", id="failed"),
        pytest.param(STEPS["finish_cancelled"], "processing", id="cancelled"),
    ],
)
def test_the_upload_of_a_task_without_a_result_is_kept_for_a_while(
    settings, step, state
):
    settings.KEEP_FAILED_HOURS = 2
    task, files = ended_with(step, state)

    assert files.original.exists()
    assert not files.samples.exists()
    kept_for = task.media_expires_at - task.finished_at
    assert kept_for == pytest.approx(timedelta(hours=2), abs=timedelta(seconds=1))
    files.make_old(3)
    assert retention.sweep() == 0
    assert files.original.exists()


def test_a_waiting_task_that_is_cancelled_keeps_its_upload():
    task = TaskFactory(queued=True)
    files = fill(task.public_id)

    assert cancellation.cancel_task(task)

    assert files.original.exists()
    task.refresh_from_db()
    assert task.media_expires_at


def test_what_came_by_a_link_is_not_kept():
    task, files = ended_with(fail, "processing", source="link")

    assert task.media_expires_at is None
    assert not files.exist()


def test_nothing_is_kept_where_the_operator_says_so(settings):
    settings.KEEP_FAILED_HOURS = 0
    task, files = ended_with(fail, "processing")

    assert task.media_expires_at is None
    assert not files.exist()


def test_kept_originals_are_kept_for_good(settings):
    settings.KEEP_ORIGINALS = True
    over = timezone.now() - timedelta(seconds=1)
    before = fill(TaskFactory(failed=True, media_expires_at=over).public_id)

    task, files = ended_with(fail, "processing")

    assert task.media_expires_at is None
    assert retention.discard_expired_media() == 0
    assert files.original.exists()
    assert before.original.exists()


def test_the_upload_of_a_completed_task_is_not_kept():
    task = TaskFactory(processing=True)
    files = fill(task.public_id)
    STEPS["complete"](task)
    task.refresh_from_db()

    retention.conclude(task, task.status)

    assert task.media_expires_at is None
    assert not files.exist()


def test_kept_uploads_go_when_their_time_is_over(no_hints):
    over = timezone.now() - timedelta(seconds=1)
    old = fill(TaskFactory(failed=True, media_expires_at=over).public_id)
    young = fill(TaskFactory(cancelled=True).public_id)

    Dispatcher().tick()

    assert not old.exist()
    assert young.original.exists()
    assert [
        task.media_expires_at is None
        for task in TranscriptionTask.objects.order_by("id")
    ] == [True, False]


def test_kept_uploads_go_before_their_time_when_room_is_short(monkeypatch, settings):
    """The next to go first, and no more than must."""
    settings.MIN_FREE_BYTES, settings.MAX_UPLOAD_BYTES = 100, 1000
    filled = {
        hours: fill(
            TaskFactory(
                failed=True, media_expires_at=timezone.now() + timedelta(hours=hours)
            ).public_id
        )
        for hours in (3, 1, 4, 2)
    }

    def free_bytes(self: Any) -> int:
        left = sum(files.original.exists() for files in filled.values())
        return 1100 - 1 if left > 2 else 1100

    monkeypatch.setattr(type(storage.current()), "free_bytes", free_bytes)

    assert retention.discard_expired_media() == 2

    assert {h for h, files in filled.items() if files.original.exists()} == {3, 4}


def test_room_that_is_short_for_other_reasons_ends_the_search(monkeypatch):
    monkeypatch.setattr(type(storage.current()), "free_bytes", lambda self: 0)
    files = fill(TaskFactory(failed=True).public_id)
    needed = fill(TaskFactory(queued=True).public_id)

    assert retention.discard_expired_media() == 1
    assert retention.discard_expired_media() == 0

    assert not files.exist()
    assert needed.original.exists()


def test_a_task_that_starts_again_keeps_its_upload(no_hints):
    """Of a dispatcher that found it a moment before its client."""
    over = timezone.now() - timedelta(seconds=1)
    task = TaskFactory(failed=True, media_expires_at=over)
    files = fill(task.public_id)

    steering.retry_task(task)

    assert not restart.let_media_go(task.pk)
    assert retention.discard_expired_media() == 0
    assert files.original.exists()
    task.refresh_from_db()
    assert task.media_expires_at is None


def test_a_task_whose_upload_is_about_to_go_does_not_start_again(no_hints):
    """Of a client that saw the file a moment before the dispatcher deleted it."""
    task = TaskFactory(failed=True)
    fill(task.public_id)
    assert restart.let_media_go(task.pk)

    with pytest.raises(MediaGoneError):
        steering.retry_task(task)

    task.refresh_from_db()
    assert task.status == "failed"


@pytest.mark.django_db(transaction=True)
def test_of_a_retry_and_the_end_of_the_kept_upload_one_wins(no_hints):
    for _ in range(10):
        task = TaskFactory(failed=True)
        files = fill(task.public_id)

        started, let_go = in_threads(
            [
                partial(restart.start_again, task.pk),
                partial(restart.let_media_go, task.pk),
            ]
        )

        assert started != let_go
        task.refresh_from_db()
        assert task.status == ("preparing" if started else "failed")
        assert files.original.exists()


def test_a_deleted_task_keeps_nothing():
    task, files = ended_with(fail, "processing")

    retention.delete_task(task)

    assert not files.exist()


def test_the_sweep_goes_through_many_folders_in_batches(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    kept = [fill(TaskFactory(queued=True).public_id, hours_old=2) for _ in range(2)]
    for _ in range(5):
        fill(uuid.uuid4(), hours_old=2)

    assert retention.sweep() == 5
    assert all(files.original.exists() for files in kept)


def test_the_sweep_takes_uploads_that_were_never_finished(media_root):
    old, young = media_root / "incoming" / "old", media_root / "incoming" / "young"
    for path in (old, young):
        path.write_bytes(b"part")
    make_old(old, 25)

    assert retention.sweep() == 1
    assert not old.exists()
    assert young.exists()


@ON_DISK
def test_the_sweep_leaves_what_is_no_task_folder():
    stray = tasks_root() / "ab" / "notes"
    stray.mkdir(parents=True)
    make_old(stray, 99)

    assert retention.sweep() == 0
    assert stray.exists()


def test_a_volume_without_tasks_can_be_swept():
    assert retention.sweep() == 0


# --- A task that starts again --------------------------------------------------------


def test_a_task_that_has_started_again_keeps_what_it_has_made_since(settings):
    """The worker of its former end comes late: it was frozen, or the volume slow."""
    settings.KEEP_FAILED_HOURS = 24
    task = TaskFactory(failed=True)
    files = fill(task.public_id)
    assert restart.start_again(task.pk)
    TranscriptPart.objects.create(task=task, number=0)

    retention.discard_media(task, "failed")

    assert files.original.exists()
    assert files.samples.exists()
    assert TranscriptPart.objects.exists()


def test_the_sweep_takes_nothing_of_a_task_that_starts_again_meanwhile(monkeypatch):
    task = TaskFactory(failed=True, media_expires_at=None, source="link")
    files = fill(task.public_id, hours_old=2)
    sweep_folder = retention._sweep_folder

    def start_again_before(*arguments: Any) -> bool:
        assert restart.start_again(task.pk)
        return sweep_folder(*arguments)

    monkeypatch.setattr(retention, "_sweep_folder", start_again_before)

    assert retention.sweep() == 0
    assert files.original.exists()
    assert files.samples.exists()


def test_a_folder_that_cannot_be_swept_keeps_no_other(monkeypatch):
    filled = [fill(uuid.uuid4(), hours_old=2) for _ in range(2)]
    kind = type(storage.current())
    discard, failures = kind.discard, iter([True])

    def fail_once(self: Any, task_id: uuid.UUID) -> None:
        if next(failures, False):
            raise PermissionError("no")
        discard(self, task_id)

    monkeypatch.setattr(kind, "discard", fail_once)

    assert retention.sweep() == 1
    assert sum(files.exist() for files in filled) == 1


# --- Rows that change between a look and a write -------------------------------------


def test_the_worker_that_claimed_a_task_meanwhile_hears_of_its_deletion(monkeypatch):
    told: list[uuid.UUID] = []
    monkeypatch.setattr(events, "announce_stop", told.append)
    task = TaskFactory(queued=True)
    as_it_was = TranscriptionTask.objects.get(pk=task.pk)
    assert claims.claim_inference(task.pk, owner="w")

    retention.delete_task(as_it_was)

    assert told == [task.public_id]


def test_a_task_that_is_deleted_as_it_is_cancelled_is_no_error(monkeypatch):
    task = TaskFactory(queued=True)
    cancel = cancelling.cancel

    def and_delete(task_id: int) -> bool:
        done = cancel(task_id)
        TranscriptionTask.objects.filter(pk=task_id).delete()
        return done

    monkeypatch.setattr(cancelling, "cancel", and_delete)

    assert cancellation.cancel_task(task)
