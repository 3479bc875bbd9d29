"""What a task's progress says of the queue before it and of its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.integration.api.test_reading import address
from tests.support.factories import SlotFactory, TaskFactory
from transcription.services import outlook

pytestmark = pytest.mark.django_db


def progress(client: Any, task: Any) -> dict[str, Any]:
    response = client.get(address(task))
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()["progress"]
    return found


def seconds_left(client: Any, task: Any) -> float:
    """From now to the estimated finish."""
    finish_at = datetime.fromisoformat(progress(client, task)["estimated_finish_at"])
    return (finish_at - timezone.now()).total_seconds()


def finished(**values: Any) -> Any:
    return TaskFactory(
        **{
            "completed": True,
            "transcript": None,
            "media_duration_seconds": 100.0,
            "inference_seconds": 20.0,
            **values,
        }
    )


# --- The queue -----------------------------------------------------------------------


def test_those_are_ahead_that_start_earlier_for_the_same_model(client, owner):
    TaskFactory(queued=True, turn=7)  # Older.
    TaskFactory(prepared=True)  # Older, and not yet prepared.
    TaskFactory(queued=True, priority="low")
    TaskFactory(queued=True, model="small")
    TaskFactory(processing=True)
    TaskFactory(completed=True)
    task = TaskFactory(owner=owner, queued=True, turn=7)
    TaskFactory(queued=True, turn=7)  # Younger.
    TaskFactory(queued=True, turn=6)  # Younger, but the turn of its owner.
    TaskFactory(queued=True, priority="high", turn=100)
    TaskFactory(queued=True, priority="low", effective_priority="high")
    TaskFactory(priority="high")

    assert progress(client, task)["tasks_ahead"] == 5


def test_files_are_prepared_in_one_line_for_all_models(client, owner):
    task = TaskFactory(owner=owner, turn=2)
    TaskFactory(model="small", turn=1)
    TaskFactory(turn=3)
    TaskFactory(leased=True, turn=1)
    TaskFactory(priority="high", model="small")
    TaskFactory(queued=True, priority="high")
    TaskFactory(queued=True, priority="high", model="small")
    # Prepared, it will come behind the other one of its owner, which has turn 4.
    TaskFactory(owner=owner, queued=True, turn=4)
    TaskFactory(queued=True, turn=4)
    TaskFactory(queued=True, turn=5)

    assert progress(client, task)["tasks_ahead"] == 5


def test_a_file_that_is_prepared_now_waits_for_those_with_a_model(client, owner):
    task = TaskFactory(owner=owner, leased=True)
    TaskFactory(priority="high")
    TaskFactory(queued=True, priority="high")

    assert progress(client, task)["tasks_ahead"] == 1


@pytest.mark.parametrize("state", ["processing", "completed", "failed", "cancelled"])
def test_what_does_not_wait_has_no_place(client, owner, state):
    TaskFactory(queued=True)
    task = TaskFactory(owner=owner, **{state: True})

    assert progress(client, task)["tasks_ahead"] is None


@pytest.mark.parametrize("others", ["normal", "high"])
def test_the_count_ends_where_it_is_of_no_use(client, owner, monkeypatch, others):
    monkeypatch.setattr(outlook, "MAX_AHEAD", 3)
    SlotFactory()
    finished()
    TaskFactory.create_batch(4, queued=True, priority=others)
    TaskFactory(queued=True)
    task = TaskFactory(owner=owner, queued=True)

    found = progress(client, task)

    assert found["tasks_ahead"] == 3
    assert found["estimated_finish_at"] is None


# --- The end -------------------------------------------------------------------------


def test_a_running_task_ends_after_what_is_left_of_it(client, owner):
    finished()
    task = TaskFactory(
        owner=owner, processing=True, progress=0.25, media_duration_seconds=400.0
    )

    # 300 s are left, and a second takes 0.2 s.
    assert seconds_left(client, task) == pytest.approx(60, abs=2)


@pytest.mark.parametrize(("slots", "running", "left"), [(1, 0, 60), (1, 4, 30)])
def test_a_waiting_task_ends_after_those_before_it(client, owner, slots, running, left):
    SlotFactory.create_batch(slots)
    finished()
    TaskFactory.create_batch(running, processing=True)
    TaskFactory.create_batch(2, queued=True)
    task = TaskFactory(owner=owner, queued=True, media_duration_seconds=100.0)

    # 20 s of its own; two others of 20 s, one after the other or beside each other.
    assert seconds_left(client, task) == pytest.approx(left, abs=2)


def test_one_result_that_took_long_is_not_the_speed(client, owner):
    for took in (20, 20, 2000):
        finished(inference_seconds=float(took))
    task = TaskFactory(owner=owner, processing=True, media_duration_seconds=100.0)

    assert seconds_left(client, task) == pytest.approx(20, abs=2)


def test_the_newest_results_count(client, owner, monkeypatch):
    monkeypatch.setattr(outlook, "SAMPLES", 2)
    finished(inference_seconds=900.0)
    finished(priority="high")
    finished()
    task = TaskFactory(
        owner=owner, processing=True, priority="high", media_duration_seconds=100.0
    )

    assert seconds_left(client, task) == pytest.approx(20, abs=2)


@pytest.mark.parametrize(
    ("result", "task"),
    [
        (None, {"processing": True}),
        ({"model": "small"}, {"processing": True}),
        ({"finished_at": timezone.now() - timedelta(days=8)}, {"processing": True}),
        ({"inference_seconds": None}, {"processing": True}),
        ({}, {"prepared": True, "media_duration_seconds": None}),
        ({}, {"queued": True, "model": "nobody-serves"}),
        ({"model": "nobody-serves"}, {"queued": True, "model": "nobody-serves"}),
        ({}, {"completed": True}),
        ({}, {"failed": True, "media_duration_seconds": 10.0}),
    ],
)
def test_where_nobody_can_tell_nothing_is_told(client, owner, result, task):
    SlotFactory()
    if result is not None:
        finished(**result)

    found = progress(client, TaskFactory(owner=owner, **task))

    assert found["estimated_finish_at"] is None


def test_a_long_queue_asks_no_more_than_a_short_one(client, owner):
    def count_queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(address(task))
        return len(captured)

    SlotFactory()
    finished()
    task = TaskFactory(owner=owner, queued=True)
    client.get(address(task))
    few = count_queries()
    TaskFactory.create_batch(30, queued=True, priority="high")

    assert count_queries() == few
    assert few <= 9
