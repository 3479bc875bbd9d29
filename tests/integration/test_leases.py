"""The heartbeat: leases are renewed, losses and cancellations noticed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from tests.support.factories import TaskFactory
from tests.support.waiting import patient, wait_for
from transcription.errors import LeaseLostError, TaskCancelledError
from transcription.models import TranscriptionTask
from transcription.services import events
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import cancelling
from transcription.work.heartbeat import Heartbeat, HeldLease
from transcription.work.kinds import Lease

pytestmark = pytest.mark.django_db


@pytest.fixture
def heart(monkeypatch) -> Heartbeat:
    """A heart that beats only when it is told to."""
    monkeypatch.setattr(Heartbeat, "_start", lambda self: None)
    return Heartbeat()


@pytest.fixture
def beating_heart() -> Iterator[Heartbeat]:
    """A heart with its own thread."""
    heart = Heartbeat()
    yield heart
    heart._wake.set()
    if heart._thread:
        heart._thread.join(timeout=patient(20))


def held_task(**traits: Any) -> tuple[Any, Lease]:
    task = TaskFactory(processing=True, **traits)
    return task, TASKS.lease(task.pk, task.lease_token)


def test_a_beat_prolongs_every_held_lease(heart):
    soon = timezone.now() + timedelta(seconds=0.5)
    (first, one), (second, two) = (
        held_task(lease_expires_at=soon),
        held_task(lease_expires_at=soon),
    )
    other, _ = held_task(lease_expires_at=soon)

    with heart.hold(one) as held_one, heart.hold(two) as held_two:
        assert heart.held_count == 2
        heart.beat()

    for task in (first, second, other):
        task.refresh_from_db()
    assert first.lease_expires_at > soon
    assert second.lease_expires_at > soon
    assert other.lease_expires_at == soon
    assert not held_one.should_stop()
    assert not held_two.should_stop()
    assert heart.held_count == 0


def test_a_lost_lease_is_noticed(heart):
    task, lease = held_task()

    with heart.hold(lease) as held:
        TranscriptionTask.objects.filter(pk=task.pk).update(lease_token=uuid.uuid4())
        heart.beat()

        assert held.should_stop()
        with pytest.raises(LeaseLostError):
            held.check()
        with pytest.raises(LeaseLostError):
            held.check_lost()


def test_a_deleted_task_is_a_lost_lease(heart):
    task, lease = held_task()

    with heart.hold(lease) as held:
        task.delete()
        heart.beat()

        assert held.lost.is_set()


def test_a_cancellation_is_noticed(heart):
    task, lease = held_task()

    with heart.hold(lease) as held:
        cancelling.cancel(task.pk)
        heart.beat()

        assert held.should_stop()
        held.check_lost()
        with pytest.raises(TaskCancelledError):
            held.check()


def test_a_loss_weighs_more_than_a_cancellation():
    held = HeldLease(TASKS.lease(1, uuid.uuid4()))
    held.cancel_requested.set()
    held.lost.set()

    with pytest.raises(LeaseLostError):
        held.check()


def test_a_lease_is_let_go_when_its_job_raises(heart):
    _, lease = held_task()

    with pytest.raises(LookupError), heart.hold(lease):
        raise LookupError

    assert heart.held_count == 0


def test_other_things_beat_along(heart):
    beats: list[int] = []
    heart.also(lambda: beats.append(1))

    heart.beat()
    heart.beat()

    assert beats == [1, 1]


def test_a_heart_without_leases_asks_nothing(heart, django_assert_num_queries):
    with django_assert_num_queries(0):
        heart.beat()


@pytest.mark.django_db(transaction=True)
def test_leases_are_renewed_by_a_thread(beating_heart, settings):
    settings.HEARTBEAT_SECONDS = 0.05
    task, lease = held_task()
    TranscriptionTask.objects.update(lease_expires_at=timezone.now())
    rows = TranscriptionTask.objects.filter(lease_expires_at__gt=timezone.now())

    with beating_heart.hold(lease) as held:
        wait_for(rows.exists)
        cancelling.cancel(task.pk)
        wait_for(held.cancel_requested.is_set)


@pytest.mark.django_db(transaction=True)
def test_the_heart_beats_on_after_the_database_was_away(
    beating_heart, settings, monkeypatch
):
    settings.HEARTBEAT_SECONDS = 0.05
    failures = iter([True, True])
    renew = TASKS.renew

    def renew_or_fail(leases: list[Lease]) -> dict[uuid.UUID, bool]:
        if next(failures, False):
            raise DatabaseError("the server is restarting")
        return renew(leases)

    monkeypatch.setattr(TASKS, "renew", renew_or_fail)
    _, lease = held_task()
    TranscriptionTask.objects.update(lease_token=uuid.uuid4())

    with beating_heart.hold(lease) as held:
        wait_for(held.lost.is_set)


@pytest.mark.django_db(transaction=True)
def test_the_heart_survives_a_stop_callback_that_raises(beating_heart, settings):
    settings.HEARTBEAT_SECONDS = 0.05
    ended, lease = held_task()
    other, other_lease = held_task()
    heard: list[str] = []

    def raise_error() -> None:
        raise ValueError("a callback's own")

    with beating_heart.hold(lease) as held, beating_heart.hold(other_lease):
        held.on_stop(raise_error)
        held.on_stop(lambda: heard.append("the second"))
        cancelling.cancel(ended.pk)
        wait_for(held.cancel_requested.is_set)
        TranscriptionTask.objects.filter(pk=other.pk).update(
            lease_expires_at=timezone.now()
        )

        renewed = TranscriptionTask.objects.filter(
            pk=other.pk, lease_expires_at__gt=timezone.now() + timedelta(seconds=1)
        )
        wait_for(renewed.exists)
        assert heard == ["the second"]


def test_what_beats_along_and_fails_stops_no_lease_from_being_renewed(heart):
    soon = timezone.now() + timedelta(seconds=1)
    task, lease = held_task(lease_expires_at=soon)
    beats: list[int] = []

    def fail() -> None:
        raise ValueError("no")

    heart.also(fail)
    heart.also(lambda: beats.append(1))

    with heart.hold(lease):
        heart.beat()

    task.refresh_from_db()
    assert task.lease_expires_at > soon
    assert beats == [1]


def test_leases_that_cannot_be_renewed_stop_nothing_else_from_beating(
    heart, monkeypatch
):
    def fail(leases: list[Lease]) -> dict[uuid.UUID, bool]:
        raise DatabaseError("away")

    monkeypatch.setattr(TASKS, "renew", fail)
    _, lease = held_task()
    beats: list[int] = []
    heart.also(lambda: beats.append(1))

    with heart.hold(lease) as held:
        heart.beat()

    assert beats == [1]
    assert not held.should_stop()


def test_the_listener_for_stops_survives_a_look_that_raises(broker):
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        raise ValueError("no")

    events.listen_for_stops(look)
    wait_for(lambda: broker.client.pubsub_numsub(events.STOP_CHANNEL)[0][1])

    events.announce_stop(uuid.uuid4())
    wait_for(lambda: len(looks) == 1)
    events.announce_stop(uuid.uuid4())
    wait_for(lambda: len(looks) == 2)
