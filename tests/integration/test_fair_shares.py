"""Owners start in turn, with real workers and a real broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Max

from tests.support.factories import UserFactory
from tests.support.fleet import Fleet
from tests.support.media_files import make_tone, write_wav
from tests.support.waiting import wait_for
from transcription.models import TranscriptionTask
from transcription.services.submission import TaskRequest, submit_upload

# Whose turn it is is tested on each database, in test_turns.py.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

SECONDS = 120.0
MANY = 40
FEW = 3

Status = TranscriptionTask.Status


@pytest.fixture
def submit(fleet: Fleet, make_upload, tmp_path) -> Callable[..., list[int]]:
    sound = write_wav(tmp_path / "a.wav", make_tone(0.3)).read_bytes()

    def send(owner: Any, count: int) -> list[int]:
        return [
            submit_upload(owner, make_upload(sound), TaskRequest()).pk
            for _ in range(count)
        ]

    return send


def wait_for_count(fleet: Fleet, count: int, **condition: Any) -> None:
    rows = TranscriptionTask.objects.filter(**condition)
    wait_for(
        lambda: rows.count() == count,
        seconds=SECONDS,
        named=lambda: f"{count} {condition}, not {rows.count()}{fleet.said()}",
    )


def places(owner: Any, column: str, after: Any) -> list[int]:
    """Which of the starts after a moment were an owner's; the first is 1."""
    order = TranscriptionTask.objects.filter(**{f"{column}__gt": after})
    owners = order.order_by(column).values_list("owner", flat=True)
    return [place for place, found in enumerate(owners, 1) if found == owner.pk]


def test_few_tasks_do_not_wait_for_the_many_of_another_owner(fleet, submit):
    many, few = UserFactory(), UserFactory()
    fleet.ensure_no_inference()

    with fleet.held():
        submit(many, MANY)
        fleet.ensure_inference()
        wait_for_count(fleet, 1, status=Status.PROCESSING)
        wait_for_count(fleet, MANY - 1, status=Status.QUEUED)
        ids = submit(few, FEW)
        wait_for_count(fleet, FEW, pk__in=ids, status=Status.QUEUED)
        came = TranscriptionTask.objects.filter(pk__in=ids)
        came_at = came.aggregate(Max("queued_at"))["queued_at__max"]
    wait_for_count(fleet, MANY + FEW, status=Status.COMPLETED)

    # One of each in turn: at the latest second, fourth and sixth.
    found = places(few, "started_at", came_at)
    assert len(found) == FEW
    assert found[0] <= 2
    assert found[-1] <= 2 * FEW


def test_files_are_prepared_in_turn(fleet, submit):
    many, few = UserFactory(), UserFactory()
    fleet.ensure_no_inference()
    with fleet.media_frozen():
        # Or it may keep up with those that send.
        submit(many, MANY)
        ids = submit(few, FEW)
        came_at = TranscriptionTask.objects.get(pk=ids[-1]).created_at
        still_waiting = TranscriptionTask.objects.filter(
            owner=many, preparation_started_at=None
        ).count()

    wait_for_count(fleet, MANY + FEW, status=Status.QUEUED)

    # Those that were on their way to a worker when the others came may be before them.
    assert still_waiting > 3 * FEW
    found = places(few, "preparation_started_at", came_at)
    assert all(place <= 2 * FEW + 2 for place in found)
