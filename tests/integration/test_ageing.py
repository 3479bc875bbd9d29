"""Tasks that wait long rise, so that a stream of urgent ones starves nobody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from tests.integration.databases import in_threads
from tests.support.factories import TaskFactory
from transcription.models import TranscriptionTask
from transcription.services import ageing, turns
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import claims, failure, priorities
from whisperhub.queues import queue_names
from workers.dispatcher import Dispatcher

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def ten_minutes_a_step(settings) -> None:
    settings.AGEING_SECONDS = 600


def minutes_ago(minutes: float) -> Any:
    return timezone.now() - timedelta(minutes=minutes)


def effective() -> list[str]:
    tasks = TranscriptionTask.objects.order_by("id")
    return list(tasks.values_list("effective_priority", flat=True))


# --- Who rises -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "before", "minutes", "after"),
    [
        ("low", "low", 9, "low"),
        ("low", "low", 11, "normal"),
        # One step at a time, however late it is.
        ("low", "low", 99, "normal"),
        ("low", "normal", 19, "normal"),
        ("low", "normal", 21, "high"),
        ("low", "high", 99, "high"),
        ("normal", "normal", 9, "normal"),
        ("normal", "normal", 11, "high"),
        ("normal", "high", 99, "high"),
        ("high", "high", 99, "high"),
    ],
)
def test_each_span_of_waiting_is_worth_one_step(asked, before, minutes, after):
    TaskFactory(
        queued=True,
        dispatched=True,
        priority=asked,
        effective_priority=before,
        queued_at=minutes_ago(minutes),
    )

    raised = ageing.raise_aged()

    task = TranscriptionTask.objects.get()
    assert (task.priority, task.effective_priority) == (asked, after)
    assert raised == (before != after)
    # Raised, it needs a hint in its new queue.
    assert (task.dispatched_at is None) == (before != after)


def test_waiting_for_preparation_counts_too():
    TaskFactory(dispatched=True, priority="low")
    TranscriptionTask.objects.update(created_at=minutes_ago(11))

    assert ageing.raise_aged() == 1
    assert effective() == ["normal"]


def test_only_tasks_that_could_start_rise():
    old = {"queued_at": minutes_ago(99), "priority": "low"}
    TaskFactory(processing=True, **old)
    TaskFactory(completed=True, **old)
    TaskFactory(leased=True, **old)
    TaskFactory(queued=True, not_before=minutes_ago(-5), **old)

    assert ageing.raise_aged() == 0
    assert effective() == ["low"] * 4


def test_nothing_rises_where_the_operator_wants_strict_order(settings):
    settings.AGEING_SECONDS = 0
    TaskFactory(queued=True, priority="low", queued_at=minutes_ago(99))

    assert ageing.raise_aged() == 0


def test_a_long_backlog_rises_in_parts_the_oldest_first(monkeypatch):
    monkeypatch.setattr(ageing, "BATCH", 2)
    TaskFactory.create_batch(3, queued=True, priority="low", queued_at=minutes_ago(11))

    assert ageing.raise_aged() == 2
    assert effective() == ["normal", "normal", "low"]


@pytest.mark.django_db(transaction=True)
def test_of_several_dispatchers_one_raises_a_task():
    task = TaskFactory(queued=True, priority="low")

    def raise_it() -> bool:
        return priorities.raise_priority(task.pk, former="low", higher="normal")

    assert sorted(in_threads([raise_it] * 4)) == [False, False, False, True]


def test_the_dispatcher_raises_and_sends_a_hint(no_hints):
    task = TaskFactory(
        queued=True, dispatched=True, priority="low", queued_at=minutes_ago(11)
    )

    Dispatcher().tick()

    assert effective() == ["normal"]
    assert no_hints == [task.pk]


# --- Starvation ----------------------------------------------------------------------


class OnePlace:
    """Takes hints in the order in which a real worker takes them, one job at a time."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    def work(self) -> int | None:
        """Do the next task that can be claimed; None if nothing waits."""
        while True:
            for queue in queue_names("demo"):
                if found := self._broker.hints(queue):
                    self._broker.client.rpop(queue)
                    break
            else:
                return None
            chosen = turns.first_in(*found[0].args)
            if chosen is None:
                continue  # A hint that a task left behind when it rose.
            lease = claims.claim_inference(chosen.task_id, owner="cpu-0@tests/1")
            assert lease is not None
            failure.fail(lease, code="no_audio", message="None.")
            return chosen.task_id


@pytest.mark.parametrize("ages", [True, False])
def test_a_task_of_low_priority_is_served_under_endless_urgent_load(
    broker, settings, ages
):
    """Each round is a minute: an urgent task comes, and one task is done."""
    settings.AGEING_SECONDS = 600 if ages else 0
    place = OnePlace(broker)
    # Each is the first one of its owner.
    low = TaskFactory(queued=True, priority="low", turn=1)
    for _ in range(5):
        TaskFactory(queued=True, priority="high", turn=1)
    TASKS.send_unsent()

    done: list[int | None] = []
    for _ in range(30):
        TASKS.send_hint(TaskFactory(queued=True, priority="high", turn=1).pk)
        TranscriptionTask.objects.update(
            queued_at=F("queued_at") - timedelta(minutes=1)
        )
        ageing.raise_aged()
        TASKS.send_unsent()
        done.append(place.work())

    if ages:
        # Raised in round 10 and in round 20; five urgent ones stood before it then.
        assert 20 <= done.index(low.pk) + 1 <= 27
    else:
        assert low.pk not in done
    assert None not in done
