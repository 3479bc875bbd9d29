"""The dispatcher: expired leases, hints that were not sent, leftovers."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone

from tests.factories import TaskFactory
from tests.waiting import patient, wait_for
from transcription.models import TranscriptionTask
from transcription.services import hints, publishing, retention
from transcription.storage import TaskFolder
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
    folder = TaskFolder(task.public_id)
    folder.create()
    folder.samples.write_bytes(b"samples")

    Dispatcher().tick()

    task.refresh_from_db()
    assert (task.status, task.error_code) == ("failed", "worker_lost")
    assert not folder.path.exists()
    assert no_hints == []


def test_hints_are_sent_in_the_order_of_service(no_hints):
    low = TaskFactory(queued=True, priority="low")
    normal = TaskFactory(queued=True)
    raised = TaskFactory(priority="low", effective_priority="high")
    high = TaskFactory(queued=True, priority="high")

    assert Dispatcher().send_held_back() == 4
    assert no_hints == [raised.pk, high.pk, normal.pk, low.pk]


def test_only_waiting_tasks_without_a_hint_are_sent(no_hints, past):
    due = TaskFactory(queued=True, not_before=past)
    TaskFactory(queued=True, not_before=timezone.now() + timedelta(hours=1))
    TaskFactory(queued=True, dispatched=True)
    TaskFactory(processing=True)
    TaskFactory(completed=True)

    Dispatcher().send_held_back()

    assert no_hints == [due.pk]


def test_one_step_handles_a_limited_number(no_hints, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)
    TaskFactory.create_batch(5, queued=True)

    assert Dispatcher().send_held_back() == 3


def test_an_absent_broker_is_not_asked_again_and_again(monkeypatch):
    TaskFactory.create_batch(3, queued=True)
    asked: list[int] = []

    def fail(task_id: int) -> bool:
        asked.append(task_id)
        publishing.breaker.trip()
        return False

    monkeypatch.setattr(hints, "send_hint", fail)

    assert Dispatcher().send_held_back() == 0
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

    def expire() -> int:
        ticks.append("expire")
        if len(ticks) == 1:
            raise DatabaseError("away")
        return 0

    def send() -> int:
        ticks.append("send")
        if len(ticks) > 5:
            dispatcher.stop.set()
        return 0

    monkeypatch.setattr(dispatcher, "take_back_expired", expire)
    monkeypatch.setattr(dispatcher, "send_held_back", send)
    monkeypatch.setattr(dispatcher, "find_lost_hints", int)
    settings.LEASE_SECONDS = 1000

    dispatcher.run()

    assert ticks.count("expire") == 1
    assert ticks.count("send") > 3


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
