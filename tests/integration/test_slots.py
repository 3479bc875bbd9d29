"""The slot table: what a process says of itself, and whom it replaces."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django.utils.translation import override

from tests.support.factories import SlotFactory, TaskFactory
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient
from transcription.engines.base import ModelInfo
from transcription.engines.plan import SlotPlan
from transcription.models import TranscriptionTask, WorkerSlot
from transcription.services import slots
from transcription.services.slots import SlotTakenError, register, release_jobs
from whisperhub.sentences import Sentence

pytestmark = pytest.mark.django_db

PLAN = SlotPlan("cpu-0", "cpu", "demo", "faster-whisper", "int8")
NAME = f"cpu-0@{socket.gethostname()}"
State = WorkerSlot.State


@pytest.fixture
def living_pid() -> Iterator[int]:
    """A process of ours that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n", timeout=patient(20))


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=patient(20))
    return process.pid


def test_a_starting_process_enters_itself(no_hints):
    record = register(PLAN)

    slot = WorkerSlot.objects.get()
    assert (slot.name, slot.state, slot.pid) == (NAME, State.LOADING, os.getpid())
    assert (slot.model, slot.device, slot.engine) == ("demo", "cpu", "faster-whisper")
    assert slot.boot_id == record.boot_id
    assert record.owner == f"{NAME}/{record.boot_id}"


def test_its_life_is_told(no_hints):
    record = register(PLAN)
    info = ModelInfo(
        *("demo", "r1", "faster-whisper", "cpu", "int8"),
        notice="small",
        languages=("en", "es"),
    )

    record.ready(info)
    slot = WorkerSlot.objects.get()
    assert slot.languages == ["en", "es"]
    assert (slot.state, slot.model_revision, slot.notice) == (
        State.READY,
        "r1",
        "small",
    )

    record.beat()
    slot.refresh_from_db()
    assert slot.memory_bytes > 0
    assert slot.running_jobs == 0

    record.stop()
    slot.refresh_from_db()
    assert slot.state == State.STOPPED


def test_a_failure_is_told_with_its_reason(no_hints):
    register(PLAN).fail("The model cannot be had.")

    slot = WorkerSlot.objects.get()
    assert (slot.state, slot.message) == (State.FAILED, "The model cannot be had.")


def test_a_reason_with_values_can_be_read_in_another_language(no_hints):
    said = Sentence("The folder of the model {name!r} does not exist.", name="mine")

    register(PLAN).fail(said)

    with override("zh-hans"):
        assert WorkerSlot.objects.get().sentence.translated() == (
            "模型 'mine' 的文件夹不存在。"
        )


def test_a_beat_says_that_the_process_lives(no_hints):
    record = register(PLAN)
    long_ago = timezone.now() - timedelta(hours=1)
    WorkerSlot.objects.update(last_seen_at=long_ago)

    record.beat()

    assert WorkerSlot.objects.get().last_seen_at > long_ago


def test_a_replaced_process_changes_nothing(no_hints):
    old = register(PLAN)
    new = register(PLAN)

    old.fail("I am late.")
    old.stop()

    slot = WorkerSlot.objects.get()
    assert slot.boot_id == new.boot_id
    assert (slot.state, slot.message) == (State.LOADING, "")


def test_a_second_process_of_the_same_name_is_refused(no_hints, living_pid):
    SlotFactory(name=NAME, host=socket.gethostname(), pid=living_pid)

    with pytest.raises(SlotTakenError, match=f"served by process {living_pid}"):
        register(PLAN)

    assert WorkerSlot.objects.get().pid == living_pid


def test_a_process_of_another_machine_is_believed_while_it_beats(no_hints, dead_pid):
    SlotFactory(name=NAME, host="elsewhere", pid=dead_pid)

    with pytest.raises(SlotTakenError, match="on elsewhere"):
        register(PLAN)


@pytest.mark.parametrize(
    "traits",
    [{"silent": True}, {"state": State.STOPPED}, {"state": State.FAILED}],
    ids=["silent", "stopped", "failed"],
)
def test_a_process_that_ended_is_replaced(no_hints, living_pid, traits):
    SlotFactory(name=NAME, host=socket.gethostname(), pid=living_pid, **traits)

    record = register(PLAN)

    assert WorkerSlot.objects.get().boot_id == record.boot_id


def test_a_killed_process_is_replaced_at_once_and_its_jobs_go_back(no_hints, dead_pid):
    old = SlotFactory(name=NAME, host=socket.gethostname(), pid=dead_pid)
    mine = TaskFactory(processing=True, lease_owner=f"{NAME}/{old.boot_id}")
    other = TaskFactory(processing=True, lease_owner=f"{NAME}0/x")

    register(PLAN)

    mine.refresh_from_db()
    other.refresh_from_db()
    assert (mine.status, mine.attempts, mine.losses) == ("queued", 0, 1)
    assert other.status == "processing"
    assert no_hints == [mine.pk]


def test_jobs_of_a_dead_process_are_counted(no_hints):
    TaskFactory.create_batch(2, processing=True, lease_owner="cpu-9@there/1")
    TaskFactory(processing=True, lease_owner="cpu-8@there/1")

    assert release_jobs("cpu-9@there/") == 2
    assert release_jobs("cpu-9@there/") == 0
    assert TranscriptionTask.objects.filter(status="queued").count() == 2


def test_jobs_that_end_with_their_process_leave_no_media(no_hints):
    fatal = TaskFactory(processing=True, lease_owner="cpu-9@there/1", losses=2)
    withdrawn = TaskFactory(
        processing=True, lease_owner="cpu-9@there/1", cancel_requested_at=timezone.now()
    )
    stored = [TaskFiles(task.public_id) for task in (fatal, withdrawn)]
    for files in stored:
        files.create()
        files.samples.write_bytes(b"")

    release_jobs("cpu-9@there/")

    fatal.refresh_from_db()
    withdrawn.refresh_from_db()
    assert (fatal.status, withdrawn.status) == ("failed", "cancelled")
    assert no_hints == []
    assert not any(files.exist() for files in stored)


def test_a_process_above_its_memory_drains_and_says_so(no_hints, settings, monkeypatch):
    settings.SLOT_MEMORY_BYTES = 1
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda *sent: signals.append(sent))
    record = register(PLAN)

    record.beat()
    record.beat()

    slot = WorkerSlot.objects.get()
    assert slot.state == State.DRAINING
    assert "WHISPERHUB_SLOT_MEMORY_LIMIT" in slot.message
    assert record.draining.is_set()
    assert signals == [(os.getpid(), signal.SIGTERM)]


@pytest.mark.django_db(transaction=True)
def test_of_two_processes_that_start_at_once_one_is_refused(no_hints, monkeypatch):
    """Two launchers on one machine, say; their jobs would be taken back in turn."""
    mine = os.getpid()

    def pid_of_thread() -> int:
        return os.getppid() if threading.current_thread() is other else mine

    monkeypatch.setattr("os.getpid", pid_of_thread)
    SlotFactory(name=NAME, state=State.STOPPED)
    entered: list[uuid.UUID] = []
    refused: list[SlotTakenError] = []
    look = slots._refuse_living

    def start() -> None:
        try:
            entered.append(register(PLAN).boot_id)
        except SlotTakenError as error:
            refused.append(error)

    def start_and_disconnect() -> None:
        try:
            start()
        finally:
            connection.close()

    other = threading.Thread(target=start_and_disconnect)

    def look_while_another_starts(row: WorkerSlot) -> None:
        look(row)
        # A server may have this transaction done again.
        if other.ident is None:
            other.start()
            # It waits for this transaction; without a lock it would be through by now.
            other.join(0.3)

    monkeypatch.setattr(slots, "_refuse_living", look_while_another_starts)

    start()
    other.join()

    assert len(refused) == 1
    assert [WorkerSlot.objects.get().boot_id] == entered
