"""The books of the chaos runs tell what is wrong, on each database."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.chaos import moves
from tests.chaos.books import Balance, Books
from tests.chaos.load import GARBAGE, Order, Sent
from tests.chaos.monkey import draw_deeds
from tests.chaos.receiver import MoodyReceiver
from tests.support.factories import TaskFactory
from tests.support.waiting import patient
from transcription.models import Transcript, TranscriptionTask

pytestmark = pytest.mark.django_db(transaction=True)

Status = TranscriptionTask.Status
TEXT = "What was said."
# No two changes at the same moment.
SECONDS = itertools.count(1)


class HarmlessMonkey:
    """Says how many workers it has taken from each job."""

    harms = 0

    def harms_between(self, first: float, last: float) -> int:
        return self.harms


@pytest.fixture(autouse=True)
def written_down(transactional_db: None) -> Iterator[None]:
    moves.write_down("default")
    yield
    moves.stop_writing("default")


@pytest.fixture
def monkey() -> Any:
    return HarmlessMonkey()


@pytest.fixture
def receiver() -> Iterator[MoodyReceiver]:
    with closing(MoodyReceiver(random.Random(3))) as receiver:
        yield receiver


@pytest.fixture
def balance(monkey: Any, receiver: MoodyReceiver) -> Any:
    """Check the books of some tasks."""

    def check(*tasks: TranscriptionTask, **order: Any) -> Balance:
        sent = [
            Sent(
                Order(
                    **{
                        "number": number,
                        "at": 0.0,
                        "kind": "en",
                        "priority": "normal",
                        "cancel_after": None,
                        "wants_callback": False,
                        **order,
                    }
                ),
                task_id=str(task.public_id),
                status_code=201,
            )
            for number, task in enumerate(tasks)
        ]
        for one, task in zip(sent, tasks, strict=True):
            TranscriptionTask.objects.filter(pk=task.pk).update(
                file_name=one.order.file_name
            )
        return Books(
            sent, texts={"en": TEXT}, monkey=monkey, receiver=receiver
        ).balance()

    return check


def completed(text: str = TEXT) -> TranscriptionTask:
    """A task that went its way to the end."""
    task = TaskFactory(queued=True)
    move(task, Status.PROCESSING, Status.COMPLETED)
    Transcript.objects.create(task=task, text=text, language="en", duration_seconds=1)
    return task


def move(task: TranscriptionTask, *statuses: str) -> None:
    """Change the state, without the conditions that guard it."""
    for status in statuses:
        ended_at = task.created_at + timedelta(seconds=next(SECONDS))
        TranscriptionTask.objects.filter(pk=task.pk).update(
            status=status,
            finished_at=ended_at if status in TranscriptionTask.FINAL else None,
        )


def test_good_tasks_are_counted(balance):
    result = balance(completed(), completed())

    assert result.is_even, result.faults
    assert result.line().startswith("chaos: accepted=2 completed=2 failed=0")
    assert result.line().endswith("lost=0 doubled=0 callbacks_missing=0")


def test_a_bad_file_fails_with_its_code(balance):
    task = TaskFactory(queued=True)
    move(task, Status.PROCESSING, Status.FAILED)
    TranscriptionTask.objects.filter(pk=task.pk).update(error_code="invalid_media")

    result = balance(task, kind=GARBAGE)

    assert result.is_even, result.faults
    assert result.counts[Status.FAILED] == 1
    assert not balance(task, kind="en").is_even


@pytest.mark.parametrize(
    "afterwards",
    [
        [Status.COMPLETED],
        [Status.QUEUED, Status.PROCESSING, Status.COMPLETED],
        [Status.FAILED, Status.COMPLETED],
    ],
)
def test_a_second_end_is_seen(balance, afterwards):
    task = completed()
    move(task, *afterwards)

    result = balance(task)

    assert result.doubled == 1
    assert not result.is_even


def test_an_arrow_that_is_not_drawn_is_seen(balance):
    task = TaskFactory()
    move(task, Status.PROCESSING)

    assert balance(task).doubled == 1


def test_one_request_that_became_two_tasks_is_seen(balance):
    assert balance(completed(), completed(), number=7).doubled == 1


def test_a_task_that_did_not_end_is_lost(balance):
    assert balance(TaskFactory(processing=True)).lost == 1


def test_a_task_that_is_gone_is_lost(balance):
    task = completed()
    task.delete()

    assert balance(task).lost == 1


def test_another_text_is_a_fault(balance):
    assert not balance(completed("Something else.")).is_even


def test_a_failure_must_be_earned(balance, monkey):
    task = TaskFactory(failed=True)
    TranscriptionTask.objects.filter(pk=task.pk).update(error_code="worker_lost")

    assert not balance(task).is_even
    monkey.harms = 3
    result = balance(task)

    assert result.is_even
    assert result.unlucky == 1


def test_a_file_of_nobody_is_a_fault(balance, media_root: Path):
    task = completed()
    assert balance(task).is_even

    (media_root / "lost").touch()

    assert balance(task).faults == ["lost belongs to nobody."]


def tell(receiver: MoodyReceiver, body: dict[str, Any]) -> None:
    """Send it what it takes in the end."""
    url = receiver.url_for("chaos-000000.wav")
    while requests.post(url, json=body, timeout=patient(10)).status_code != 204:
        pass


def test_a_callback_that_nobody_heard_is_missing(balance, receiver):
    task = completed()

    assert balance(task, wants_callback=True).callbacks_missing == 1
    tell(receiver, {"type": "task.completed", "data": {"status": "completed"}})
    result = balance(task, wants_callback=True)

    assert result.is_even, result.faults
    assert result.line().endswith("lost=0 doubled=0 callbacks_missing=0")


@pytest.mark.parametrize(
    ("event", "status"), [("task.completed", "failed"), ("task.failed", "completed")]
)
def test_a_callback_that_tells_another_end_does_not_count(
    balance, receiver, event, status
):
    tell(receiver, {"type": event, "data": {"status": status}})

    assert balance(completed(), wants_callback=True).callbacks_missing == 1


def test_the_same_seed_does_the_same():
    def drawn(seed: int) -> list[Any]:
        return draw_deeds(random.Random(seed), seconds=60, parts=["web", "broker"])

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
