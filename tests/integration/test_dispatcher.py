"""The dispatcher: expired leases, hints that were not sent, leftovers."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import InterfaceError
from django.utils import timezone

from tests.support.factories import CallbackFactory, TaskFactory
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient, wait_for
from transcription.models import DispatcherTick, TranscriptionTask
from transcription.services import callbacks, events, retention
from transcription.services.callbacks import CALLBACKS
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import lost_workers, priorities
from transcription.work import kinds, publishing
from workers import dispatcher as module
from workers.dispatcher import Dispatcher

pytestmark = pytest.mark.django_db


@pytest.fixture
def past() -> object:
    return timezone.now() - timedelta(seconds=1)


def test_expired_leases_go_back_and_are_hinted(no_hints, past):
    preparing = TaskFactory(expired_lease=True)
    processing = TaskFactory(processing=True, lease_expires_at=past)
    running = TaskFactory(processing=True)

    Dispatcher().tick()

    statuses = dict(TranscriptionTask.objects.values_list("pk", "status"))
    assert statuses == {
        preparing.pk: "preparing",
        processing.pk: "queued",
        running.pk: "processing",
    }
    assert set(no_hints) == {preparing.pk, processing.pk}


def test_a_task_that_killed_its_workers_fails_and_its_media_go(no_hints, past):
    task = TaskFactory(processing=True, losses=2, lease_expires_at=past)
    files = TaskFiles(task.public_id)
    files.create()
    files.samples.write_bytes(b"samples")

    Dispatcher().tick()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("failed", "worker_lost")
    assert not files.exist()
    assert no_hints == []


def test_hints_are_sent_in_the_order_of_service(no_hints):
    low = TaskFactory(queued=True, priority="low")
    normal = TaskFactory(queued=True)
    raised = TaskFactory(priority="low", effective_priority="high")
    high = TaskFactory(queued=True, priority="high")

    assert TASKS.send_unsent() == 4
    assert no_hints == [raised.pk, high.pk, normal.pk, low.pk]


def test_only_waiting_tasks_without_a_hint_are_sent(no_hints, past):
    due = TaskFactory(queued=True, not_before=past)
    TaskFactory(queued=True, not_before=timezone.now() + timedelta(hours=1))
    TaskFactory(queued=True, dispatched=True)
    TaskFactory(processing=True)
    TaskFactory(completed=True)

    TASKS.send_unsent()

    assert no_hints == [due.pk]


def test_one_step_handles_a_limited_number(no_hints, monkeypatch):
    monkeypatch.setattr(kinds, "BATCH", 3)
    TaskFactory.create_batch(5, queued=True)

    assert TASKS.send_unsent() == 3


def test_an_absent_broker_is_not_asked_again_and_again(monkeypatch):
    TaskFactory.create_batch(3, queued=True)
    asked: list[int] = []

    def fail(task_id: int) -> bool:
        asked.append(task_id)
        publishing.breaker.trip(OSError("away"))
        return False

    monkeypatch.setattr(TASKS, "send_hint", fail)

    assert TASKS.send_unsent() == 0
    assert len(asked) == 1


def test_leftovers_are_swept_now_and_then(no_hints, monkeypatch):
    sweeps: list[int] = []
    monkeypatch.setattr(retention, "sweep", lambda: sweeps.append(1))
    dispatcher = Dispatcher()

    dispatcher.tick()
    dispatcher.tick()

    assert sweeps == [1]


def test_after_an_outage_leases_get_time_to_be_renewed(settings, no_hints, monkeypatch):
    settings.DISPATCH_SECONDS = 0.01
    ticks: list[str] = []
    dispatcher = Dispatcher()

    def expire(then: object) -> int:
        ticks.append("expire")
        if len(ticks) == 1:
            raise InterfaceError("away")
        return 0

    def send() -> int:
        ticks.append("send")
        if len(ticks) > 5:
            dispatcher.stop.set()
        return 0

    monkeypatch.setattr(TASKS, "take_back_expired", expire)
    monkeypatch.setattr(TASKS, "send_unsent", send)
    monkeypatch.setattr(TASKS, "forget_lost_hints", int)
    settings.LEASE_SECONDS = 1000

    dispatcher.run()

    assert ticks.count("expire") == 1
    assert ticks.count("send") > 3


# --- Steps and rows that fail --------------------------------------------------------


def broken() -> int:
    raise ValueError("no")


@pytest.mark.parametrize("position", range(len(Dispatcher()._steps)))
def test_a_step_that_fails_keeps_no_other_from_running(no_hints, monkeypatch, position):
    dispatcher = Dispatcher()
    ran: list[str] = []
    for number, step in enumerate(dispatcher._steps):
        run = broken if number == position else partial(ran.append, step.name)
        monkeypatch.setattr(step, "run", run)

    dispatcher.tick()

    names = [step.name for step in dispatcher._steps]
    failing = names.pop(position)
    assert ran == names
    assert DispatcherTick.objects.get().failing == failing


def test_a_step_that_fails_is_repeated_before_its_time(no_hints, monkeypatch):
    monkeypatch.setattr(module, "REPEAT_SECONDS", 0.0)
    sweeps: list[int] = []

    def sweep() -> int:
        sweeps.append(1)
        return broken() if len(sweeps) == 1 else 0

    monkeypatch.setattr(retention, "sweep", sweep)
    dispatcher = Dispatcher()

    for _ in range(3):
        dispatcher.tick()

    assert sweeps == [1, 1]


def test_without_a_database_the_other_steps_do_not_wait_for_it_too(monkeypatch):
    dispatcher = Dispatcher()
    ran: list[str] = []

    def away() -> int:
        raise InterfaceError("away")

    first, *others = dispatcher._steps
    monkeypatch.setattr(first, "run", away)
    for step in others:
        monkeypatch.setattr(step, "run", partial(ran.append, step.name))

    dispatcher.tick()

    assert ran == []


def test_a_volume_that_is_away_keeps_no_task_from_being_served(
    no_hints, settings, tmp_path
):
    settings.MEDIA_ROOT = tmp_path / "gone"
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "gone" / "incoming"
    waiting = TaskFactory(queued=True)

    Dispatcher().tick()

    assert no_hints == [waiting.pk]
    assert set(DispatcherTick.objects.get().failing.split(",")) >= {"sweep"}


def test_a_task_that_is_deleted_as_it_ends_keeps_no_other_from_going_back(
    no_hints, past, monkeypatch
):
    ends = TaskFactory(processing=True, losses=2, lease_expires_at=past)
    goes_back = TaskFactory(processing=True, lease_expires_at=timezone.now())
    monkeypatch.setattr(
        events,
        "announce_finished",
        lambda public_id, status: ends.delete(),
    )

    dispatcher = Dispatcher()
    dispatcher.tick()

    goes_back.refresh_from_db()
    assert goes_back.status == "queued"
    assert not TranscriptionTask.objects.filter(pk=ends.pk).exists()
    assert DispatcherTick.objects.get().failing == ""


def failing_at(monkeypatch: Any, owner: Any, name: str, key: int) -> None:
    """Have a function fail for one of its first arguments, and work for others."""
    real = getattr(owner, name)

    def act(first: Any, *others: Any, **named: Any) -> Any:
        if getattr(first, "pk", first) == key:
            raise ValueError("no")
        return real(first, *others, **named)

    monkeypatch.setattr(owner, name, act)


def test_a_row_that_fails_keeps_no_other_row_of_a_step_from_being_handled(
    no_hints, past, settings, monkeypatch
):
    settings.AGEING_SECONDS = 600
    lost = [TaskFactory(processing=True, lease_expires_at=past) for _ in range(2)]
    waiting = [TaskFactory(queued=True) for _ in range(2)]
    aged = [
        TaskFactory(
            queued=True,
            priority="low",
            dispatched=True,
            queued_at=timezone.now() - timedelta(minutes=11),
        )
        for _ in range(2)
    ]
    unsent = [CallbackFactory() for _ in range(2)]
    sending = [CallbackFactory(expired_lease=True) for _ in range(2)]
    sent: list[int] = []

    def send(callback_id: int) -> bool:
        sent.append(callback_id)
        return True

    monkeypatch.setattr(CALLBACKS, "send_hint", send)
    failing_at(monkeypatch, lost_workers, "take_back", lost[0].pk)
    failing_at(monkeypatch, TASKS, "send_hint", waiting[0].pk)
    failing_at(monkeypatch, priorities, "raise_priority", aged[0].pk)
    failing_at(monkeypatch, CALLBACKS, "send_hint", unsent[0].pk)
    failing_at(monkeypatch, callbacks, "take_back", sending[0].pk)

    dispatcher = Dispatcher()
    dispatcher.tick()

    for task in (lost[1], aged[1]):
        task.refresh_from_db()
    assert lost[1].status == "queued"
    assert aged[1].effective_priority == "normal"
    assert waiting[1].pk in no_hints
    assert waiting[0].pk not in no_hints
    assert unsent[1].pk in sent
    sending[1].refresh_from_db()
    assert sending[1].lease_token is None
    assert DispatcherTick.objects.get().failing == (
        "raise_aged,send_hints_of_callbacks,send_hints_of_tasks,"
        "take_callbacks_back,take_tasks_back"
    )


def test_it_stops_when_it_is_told_to(no_hints, settings, monkeypatch):
    settings.DISPATCH_SECONDS = 60
    dispatcher = Dispatcher()
    ticked = threading.Event()
    monkeypatch.setattr(dispatcher, "tick", ticked.set)
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    wait_for(ticked.is_set)

    dispatcher.stop.set()
    thread.join(timeout=patient(10))

    assert not thread.is_alive()
