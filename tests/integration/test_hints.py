"""Hints over a real broker, and life without one."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.support.factories import TaskFactory
from tests.support.waiting import patient
from transcription.models import TranscriptionTask
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import cancelling
from transcription.work import kinds
from transcription.work.publishing import breaker
from whisperhub.redis import QUIET_SECONDS
from workers.dispatcher import Dispatcher

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch) -> Any:
    """The breaker's clock, which stands still."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr("whisperhub.redis.time.monotonic", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_a_new_task_wakes_a_media_worker(broker, priority):
    task = TaskFactory(priority=priority)

    assert TASKS.send_hint(task.pk) is True

    (hint,) = broker.hints(f"prepare.{priority}")
    assert hint.task == "transcription.tasks.prepare_media"
    assert hint.args == [f"prepare.{priority}"]
    assert hint.id == f"{task.public_id}-p1"
    assert broker.queues() == {f"prepare.{priority}"}


def test_a_prepared_task_wakes_a_worker_of_its_model(broker):
    task = TaskFactory(queued=True, model="large-v3", priority="high", losses=1)

    assert TASKS.send_hint(task.pk) is True

    (hint,) = broker.hints("large-v3.high")
    assert hint.task == "transcription.tasks.run_transcription"
    assert hint.args == ["large-v3.high"]
    assert hint.id == f"{task.public_id}-a2"
    assert broker.queues() == {"large-v3.high"}


def test_the_effective_priority_decides(broker):
    task = TaskFactory(queued=True, priority="low", effective_priority="normal")

    TASKS.send_hint(task.pk)

    assert broker.queues() == {"demo.normal"}


def test_a_hint_is_sent_once(broker):
    task = TaskFactory(queued=True)

    sent = [TASKS.send_hint(task.pk) for _ in range(3)]

    assert sent == [True, False, False]
    assert len(broker.hints("demo.normal")) == 1
    task.refresh_from_db()
    assert task.dispatched_at is not None


@pytest.mark.parametrize(
    "traits",
    [
        {"processing": True},
        {"leased": True},
        {"completed": True},
        {"cancelled": True},
        {"queued": True, "not_before": timezone.now() + timedelta(hours=1)},
    ],
    ids=["processing", "leased", "completed", "cancelled", "too early"],
)
def test_a_task_that_does_not_wait_gets_no_hint(broker, traits):
    task = TaskFactory(**traits)

    assert TASKS.send_hint(task.pk) is False
    assert broker.queues() == set()


def test_messages_arrive_after_the_broker_lost_everything(broker):
    TASKS.send_hint(TaskFactory(queued=True).pk)
    broker.client.flushall()
    task = TaskFactory(queued=True)

    TASKS.send_hint(task.pk)

    (hint,) = broker.hints("demo.normal")
    assert hint.id == f"{task.public_id}-a1"


def test_a_task_that_is_deleted_meanwhile_gets_no_hint(broker, monkeypatch):
    task = TaskFactory(queued=True)
    mark = TASKS.mark_dispatched

    def mark_and_delete(task_id: int) -> bool:
        marked = mark(task_id)
        TranscriptionTask.objects.all().delete()
        return marked

    monkeypatch.setattr(TASKS, "mark_dispatched", mark_and_delete)

    assert TASKS.send_hint(task.pk) is False
    assert broker.queues() == set()


def test_without_a_broker_the_row_waits_for_the_dispatcher():
    task = TaskFactory(queued=True)
    began = time.monotonic()

    assert TASKS.send_hint(task.pk) is False

    assert time.monotonic() - began < patient(3)
    task.refresh_from_db()
    assert task.dispatched_at is None
    assert task.status == "queued"


def test_after_a_failure_the_broker_is_left_alone_for_a_while(
    clock, broker, point_at_broker, settings
):
    first, second = TaskFactory.create_batch(2, queued=True)
    url = settings.BROKER_URL
    point_at_broker("redis+socket:///nonexistent/none.sock?virtual_host=0")
    assert TASKS.send_hint(first.pk) is False
    point_at_broker(url)

    clock.now += QUIET_SECONDS - 0.01
    assert breaker.is_open()
    assert TASKS.send_hint(second.pk) is False
    clock.now += 0.02
    assert not breaker.is_open()
    assert TASKS.send_hint(second.pk) is True

    assert QUIET_SECONDS == 5
    (hint,) = broker.hints("demo.normal")
    assert hint.id == f"{second.public_id}-a1"


def test_the_dispatcher_sends_what_was_held_back(broker, point_at_broker, settings):
    url = settings.BROKER_URL
    point_at_broker("redis+socket:///nonexistent/none.sock?virtual_host=0")
    tasks = [
        TaskFactory(queued=True, priority=priority)
        for priority in ("low", "normal", "high")
    ]
    assert not any(TASKS.send_hint(task.pk) for task in tasks)
    assert TASKS.send_unsent() == 0

    point_at_broker(url)
    breaker.reset()

    assert TASKS.send_unsent() == 3
    assert TASKS.send_unsent() == 0
    assert broker.queues() == {"demo.low", "demo.normal", "demo.high"}


def test_a_long_backlog_of_one_lane_does_not_keep_hints_from_others(
    no_hints, monkeypatch
):
    monkeypatch.setattr(kinds, "BATCH", 4)
    many = [TaskFactory(queued=True, turn=turn) for turn in (4, 3, 2, 1)]
    few = [TaskFactory(queued=True, model="small", turn=turn) for turn in (901, 900)]
    urgent = TaskFactory(priority="high", turn=900)

    assert TASKS.send_unsent() == 4

    # Of each lane who is next, and what one does not need goes to the others.
    assert no_hints[0] == urgent.pk
    assert many[3].pk in no_hints
    assert few[1].pk in no_hints


@pytest.fixture
def old_enough(monkeypatch) -> None:
    """Hints are looked for as soon as they are sent."""
    monkeypatch.setattr(kinds, "LEAST_AGE", timedelta(0))


def dispatched(task: TranscriptionTask) -> bool:
    task.refresh_from_db()
    return task.dispatched_at is not None


def test_hints_of_an_emptied_broker_are_sent_again(broker, old_enough):
    tasks = [TaskFactory(queued=True), TaskFactory(priority="high")]
    for task in tasks:
        TASKS.send_hint(task.pk)
    broker.client.flushall()
    dispatcher = Dispatcher()

    assert dispatcher.find_lost_hints(TASKS) == 2
    assert not any(dispatched(task) for task in tasks)
    assert TASKS.send_unsent() == 2
    assert broker.queues() == {"demo.normal", "prepare.high"}
    assert dispatcher.find_lost_hints(TASKS) == 0


def test_a_lane_gets_as_many_hints_as_it_has_lost(broker, old_enough):
    tasks = [TaskFactory(queued=True, turn=turn) for turn in (3, 1, 2, 4)]
    for task in tasks:
        TASKS.send_hint(task.pk)
    TASKS.send_hint(TaskFactory(queued=True, priority="high").pk)
    broker.client.rpop("demo.normal", 2)
    dispatcher = Dispatcher()

    assert dispatcher.find_lost_hints(TASKS) == 2
    # Whose turn it is keeps its hint, whichever it was that was lost.
    assert [dispatched(task) for task in tasks] == [False, True, True, False]
    assert TASKS.send_unsent() == 2
    assert len(broker.hints("demo.normal")) == 4
    assert len(broker.hints("demo.high")) == 1
    assert dispatcher.find_lost_hints(TASKS) == 0


def test_hints_without_a_task_stand_in_for_lost_ones(broker, old_enough):
    tasks = [TaskFactory(queued=True) for _ in range(3)]
    for task in tasks:
        TASKS.send_hint(task.pk)
    cancelling.cancel(tasks[0].pk)
    broker.client.rpop("demo.normal")

    assert Dispatcher().find_lost_hints(TASKS) == 0
    assert all(dispatched(task) for task in tasks[1:])


def test_hints_do_not_become_more_and_more(broker, old_enough):
    """Whatever a worker holds may be dead; its hint is replaced, and once."""
    for _ in range(5):
        TASKS.send_hint(TaskFactory(queued=True).pk)
    # As workers take them.
    broker.client.rpop("demo.normal", 2)
    dispatcher = Dispatcher()

    for _ in range(5):
        dispatcher.find_lost_hints(TASKS)
        TASKS.send_unsent()

    assert len(broker.hints("demo.normal")) == 5


def test_a_hint_that_is_taken_by_nobody_who_claims_is_replaced_now_and_then(broker):
    """So a worker that takes messages in vain makes no flood of them."""
    task = TaskFactory(queued=True, dispatched_at=ago(seconds=3))
    dispatcher = Dispatcher()

    for _ in range(5):
        dispatcher.find_lost_hints(TASKS)
        TASKS.send_unsent()
        taken = broker.client.rpop("demo.normal")

    assert taken is None
    assert dispatched(task)


def test_two_dispatchers_replace_a_hint_once(broker, monkeypatch):
    TaskFactory(queued=True, dispatched_at=ago(seconds=3))
    mark = TASKS.mark_undispatched

    def other_is_first(*row_ids: int, **named: Any) -> int:
        with monkeypatch.context() as other:
            other.setattr(TASKS, "mark_undispatched", mark)
            TASKS.forget_lost_hints()
            TASKS.send_unsent()
        return mark(*row_ids, **named)

    monkeypatch.setattr(TASKS, "mark_undispatched", other_is_first)

    assert TASKS.forget_lost_hints() == 0
    assert len(broker.hints("demo.normal")) == 1


def ago(*, seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


def test_a_young_hint_may_be_on_its_way(broker):
    task = TaskFactory(queued=True)
    TASKS.send_hint(task.pk)
    broker.client.flushall()

    assert TASKS.forget_lost_hints() == 0
    assert dispatched(task)


def test_without_a_broker_no_hint_counts_as_lost(old_enough):
    task = TaskFactory(queued=True, dispatched_at=timezone.now() - timedelta(hours=1))

    assert Dispatcher().find_lost_hints(TASKS) == 0
    assert dispatched(task)
