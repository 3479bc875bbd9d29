"""No owner holds all places of media work of a machine; see services/places.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.factories import TaskFactory, UserFactory
from tests.support.media_files import make_tone, write_wav
from tests.support.stored_files import TaskFiles
from transcription.models import TranscriptionTask
from transcription.services import places, preparation, turns
from transcription.services.transitions import cancelling
from transcription.services.transitions.changes import Outcome
from workers.stack import media_children

pytestmark = pytest.mark.django_db

LANE = "prepare.normal"
WORKER = "media@tests/9"


@pytest.fixture(autouse=True)
def two_workers(
    settings: Any, monkeypatch: pytest.MonkeyPatch, quiet_heart: None
) -> None:
    settings.MEDIA_WORKERS = 2
    monkeypatch.setattr(preparation, "PASSED_OVER_SECONDS", 0.0)


@pytest.fixture
def waiting(tmp_path, no_hints: list[int]) -> Any:
    """Make a task that waits, with its hint sent."""
    sound = write_wav(tmp_path / "a.wav", make_tone(0.1)).read_bytes()

    def make(owner: Any, **values: Any) -> TranscriptionTask:
        task: TranscriptionTask = TaskFactory(owner=owner, dispatched=True, **values)
        files = TaskFiles(task.public_id)
        files.create()
        files.original.write_bytes(sound)
        return task

    return make


def hold(owner: Any, *, worker: str = "media@tests/1", **values: Any) -> None:
    TaskFactory(owner=owner, leased=True, lease_owner=worker, **values)


def test_the_last_place_is_for_another_owner(waiting, no_hints):
    greedy, other = UserFactory(), UserFactory()
    for number in (1, 2):
        hold(greedy, worker=f"media@tests/{number}")
    passed_over = waiting(greedy, turn=1)
    taken = waiting(other, turn=5)

    served = preparation.prepare(LANE, owner=WORKER)

    assert served is not None
    assert (served.public_id, served.outcome) == (taken.public_id, Outcome.QUEUED)
    passed_over.refresh_from_db()
    assert passed_over.attempts == 0
    assert passed_over.dispatched_at is not None


def test_a_hint_that_finds_only_passed_over_tasks_is_given_back(waiting, no_hints):
    greedy = UserFactory()
    hold(greedy)
    hold(greedy)
    passed_over = waiting(greedy)

    assert preparation.prepare(LANE, owner=WORKER) is None

    # For a sibling whose job ends.
    assert no_hints == [passed_over.pk]
    passed_over.refresh_from_db()
    assert passed_over.dispatched_at is not None
    TranscriptionTask.objects.exclude(pk=passed_over.pk).delete()
    served = preparation.prepare(LANE, owner=WORKER)
    assert served is not None
    assert served.public_id == passed_over.public_id


def test_a_hint_that_finds_nobody_is_used_up(waiting, no_hints):
    greedy = UserFactory()
    hold(greedy)
    hold(greedy)

    assert preparation.prepare(LANE, owner=WORKER) is None
    assert no_hints == []


@pytest.mark.parametrize(
    "held",
    [
        {"worker": "media@elsewhere/1"},
        {"worker": "media@tests2/1"},
        {"expired_lease": True},
        {"processing": True, "worker": "cpu-0@tests/1"},
    ],
)
def test_only_places_of_this_machine_that_are_held_count(held):
    owner = UserFactory()
    hold(owner)
    values = {"worker": "media@tests/2", **held}

    hold(owner, **values)

    assert places.owner_at_limit(WORKER) is None
    hold(owner)
    assert places.owner_at_limit(WORKER) == owner.pk


def test_an_owner_alone_keeps_as_many_places_as_are_set(waiting):
    owner = UserFactory()
    hold(owner)

    task = waiting(owner)

    served = preparation.prepare(LANE, owner=WORKER)
    assert served is not None
    assert served.public_id == task.public_id


def test_a_machine_has_one_place_more_than_an_owner_gets(settings):
    settings.MEDIA_WORKERS = 3

    assert media_children() == 4


def test_many_tasks_that_are_passed_over_are_not_read(
    waiting, django_assert_num_queries
):
    greedy = UserFactory()
    waiting(greedy)

    with django_assert_num_queries(2):
        assert turns.first_in(LANE, passing_over=greedy.pk) is None


# --- Room ----------------------------------------------------------------------------


def test_a_task_waits_for_the_room_that_its_owner_takes(waiting, settings, no_hints):
    settings.MIN_FREE_BYTES = 2**60
    owner = UserFactory()
    TaskFactory(owner=owner, queued=True, samples_bytes=10)
    task = waiting(owner)

    served = preparation.prepare(LANE, owner=WORKER)

    assert served is not None
    assert served.outcome is Outcome.RETRIED
    task.refresh_from_db()
    assert (task.status, task.attempts, task.losses) == ("preparing", 0, 0)
    assert (task.error_code, task.lane) == ("no_room", None)
    assert task.not_before is not None


def test_without_samples_of_its_owner_no_room_is_a_failure(waiting, settings, no_hints):
    settings.MIN_FREE_BYTES, settings.MAX_ATTEMPTS = 2**60, 1
    TaskFactory(queued=True, samples_bytes=10)
    task = waiting(UserFactory())

    served = preparation.prepare(LANE, owner=WORKER)

    assert served is not None
    assert served.outcome is Outcome.FAILED
    task.refresh_from_db()
    assert (task.attempts, task.error_code) == (1, "no_room")


def test_what_samples_take_is_known_while_they_are_there(waiting, no_hints):
    task = waiting(UserFactory())

    preparation.prepare(LANE, owner=WORKER)

    assert preparation.samples_bytes_of(task.owner_id) >= 3200
    TranscriptionTask.objects.filter(pk=task.pk).update(lease_token=None)
    assert cancelling.cancel(task.pk)
    assert preparation.samples_bytes_of(task.owner_id) == 0
