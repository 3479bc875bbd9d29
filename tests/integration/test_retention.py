"""What is deleted, and what is not."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from tests.factories import TaskFactory
from transcription.models import Transcript, TranscriptionTask, TranscriptPart
from transcription.services import retention
from transcription.storage import TaskFolder, tasks_root

pytestmark = pytest.mark.django_db


def fill(public_id: uuid.UUID, *, hours_old: float = 0) -> TaskFolder:
    folder = TaskFolder(public_id)
    folder.create()
    folder.original.write_bytes(b"media")
    folder.samples.write_bytes(b"samples")
    make_old(folder.path, hours_old)
    return folder


def make_old(path: Path, hours: float) -> None:
    moment = time.time() - hours * 3600
    os.utime(path, (moment, moment))


def test_the_media_of_an_ended_task_go():
    folder = fill(TaskFactory(completed=True).public_id)

    retention.discard_media(TranscriptionTask.objects.get())

    assert not folder.path.exists()


def test_what_a_killed_decoder_left_goes_too():
    folder = fill(TaskFactory(completed=True).public_id)
    folder.samples.with_name(f"{folder.samples.name}.1a2b3c4d.part").touch()

    retention.discard_media(TranscriptionTask.objects.get())

    assert not folder.path.exists()


def test_what_was_heard_goes_though_its_worker_died_before_it_could_delete_it():
    ended, running = TaskFactory(failed=True), TaskFactory(processing=True)
    for task in (ended, running):
        TranscriptPart.objects.create(task=task, number=0)

    retention.sweep()

    assert [part.task for part in TranscriptPart.objects.all()] == [running]


def test_originals_stay_where_the_operator_keeps_them(settings):
    settings.KEEP_ORIGINALS = True
    folder = fill(TaskFactory(completed=True).public_id)

    retention.discard_media(TranscriptionTask.objects.get())

    assert folder.original.exists()
    assert not folder.samples.exists()


def test_discarding_twice_does_no_harm():
    task = TaskFactory(completed=True)
    fill(task.public_id)

    retention.discard_media(task)
    retention.discard_media(task)


def test_a_deleted_task_leaves_neither_row_nor_file(settings):
    settings.KEEP_ORIGINALS = True
    task = TaskFactory(completed=True)
    folder = fill(task.public_id)

    retention.delete_task(task)

    assert not TranscriptionTask.objects.exists()
    assert not Transcript.objects.exists()
    assert not folder.path.exists()


def test_the_sweep_takes_old_folders_of_no_task():
    folder = fill(uuid.uuid4(), hours_old=2)

    assert retention.sweep() == 1
    assert not folder.path.exists()


def test_the_sweep_leaves_young_folders_of_no_task():
    folder = fill(uuid.uuid4(), hours_old=0.5)

    assert retention.sweep() == 0
    assert folder.original.exists()


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_the_sweep_takes_what_an_ended_task_left(state):
    folder = fill(TaskFactory(**{state: True}).public_id, hours_old=2)

    assert retention.sweep() == 1
    assert not folder.path.exists()


@pytest.mark.parametrize("state", ["prepared", "leased", "queued", "processing"])
def test_the_sweep_leaves_what_a_task_still_needs(state):
    folder = fill(TaskFactory(**{state: True}).public_id, hours_old=48)

    assert retention.sweep() == 0
    assert folder.original.exists()
    assert folder.samples.exists()


def test_the_sweep_leaves_kept_originals_and_counts_nothing_twice(settings):
    settings.KEEP_ORIGINALS = True
    folder = fill(TaskFactory(completed=True).public_id, hours_old=2)

    assert retention.sweep() == 1
    make_old(folder.path, 2)
    assert retention.sweep() == 0

    assert folder.original.exists()
    assert not folder.samples.exists()


def test_the_sweep_goes_through_many_folders_in_batches(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    kept = [fill(TaskFactory(queued=True).public_id, hours_old=2) for _ in range(2)]
    for _ in range(5):
        fill(uuid.uuid4(), hours_old=2)

    assert retention.sweep() == 5
    assert all(folder.original.exists() for folder in kept)


def test_the_sweep_takes_uploads_that_were_never_finished(media_root):
    old, young = media_root / "incoming" / "old", media_root / "incoming" / "young"
    for path in (old, young):
        path.write_bytes(b"part")
    make_old(old, 25)

    assert retention.sweep() == 1
    assert not old.exists()
    assert young.exists()


def test_the_sweep_leaves_what_is_no_task_folder():
    stray = tasks_root() / "ab" / "notes"
    stray.mkdir(parents=True)
    make_old(stray, 99)

    assert retention.sweep() == 0
    assert stray.exists()


def test_a_volume_without_tasks_can_be_swept():
    assert retention.sweep() == 0
