"""The database's clock is UTC, whatever the server's zone, and keeps microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from tests.integration.databases import SERVERS_ONLY, is_mysql
from tests.support.factories import TaskFactory
from transcription.database import after_now
from transcription.models import TranscriptionTask
from transcription.services import serving
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import claims, failure

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def moment(expression: Any) -> datetime:
    """What the database makes of an expression, read as a moment."""
    TaskFactory()
    found: datetime = TranscriptionTask.objects.values_list(expression, flat=True)[0]
    return found


def the_row() -> Any:
    return TranscriptionTask.objects.get()


@pytest.fixture
def server_elsewhere(transactional_db):
    """A server in another zone, and a session that began there.

    MySQL has one zone for all databases of a server. We do not change that of a server
    we were given; the private one of tools/services.py is in another zone from its
    start.
    """
    if is_mysql():
        yield
        return
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'")
    connection.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {database} RESET timezone")
    connection.close()


def test_now_is_utc():
    assert abs(moment(Now()) - timezone.now()) < SECOND


def test_a_delay_is_added_exactly():
    TaskFactory()

    now, later = TranscriptionTask.objects.values_list(
        Now(), after_now(timedelta(hours=30, microseconds=5))
    )[0]

    # SQLite's clock ticks in milliseconds, and each Now() asks it.
    difference = later - now - timedelta(hours=30)
    assert timedelta(0) <= difference < timedelta(seconds=0.1)


def test_a_lease_ends_when_it_should():
    task = TaskFactory()

    claims.claim_preparation(task.pk, owner="media@tests/1")

    end = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
    assert abs(the_row().lease_expires_at - end) < SECOND


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 10), (2, 40), (3, 90), (4, 90)])
def test_each_retry_waits_longer(attempts, seconds, settings):
    settings.RETRY_SECONDS = [10, 40, 90]
    settings.MAX_ATTEMPTS = 9
    task = TaskFactory(processing=True, attempts=attempts)

    failure.retry_or_fail(
        TASKS.lease(task.pk, task.lease_token), code="storage_error", message="Again."
    )

    waits = the_row().not_before - timezone.now()
    assert timedelta(seconds=seconds) - SECOND < waits
    assert waits < timedelta(seconds=1.25 * seconds) + SECOND


def test_tasks_that_fail_together_do_not_come_back_together(settings):
    settings.RETRY_SECONDS = [10_000]
    tasks = TaskFactory.create_batch(8, processing=True)

    for task in tasks:
        lease = TASKS.lease(task.pk, task.lease_token)
        failure.retry_or_fail(lease, code="storage_error", message="Again.")

    moments: list[Any] = [task.not_before for task in TranscriptionTask.objects.all()]
    # Eight draws out of 2,500 s within one minute: less than one in a billion.
    assert max(moments) - min(moments) > timedelta(minutes=1)


def test_only_an_expired_lease_is_taken_back(no_hints):
    TaskFactory(processing=True, lease_expires_at=timezone.now() + 2 * SECOND)
    expired = TaskFactory(processing=True, lease_expires_at=timezone.now() - 2 * SECOND)

    TASKS.take_back_expired()

    waiting = TranscriptionTask.objects.filter(lease_token=None)
    assert [task.pk for task in waiting] == [expired.pk]


@SERVERS_ONLY
def test_a_server_in_another_zone_changes_nothing(server_elsewhere):
    task = TaskFactory()
    written_by_python = task.created_at

    claims.claim_preparation(task.pk, owner="media@tests/1")

    row = the_row()
    end = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
    assert abs(row.lease_expires_at - end) < SECOND
    assert abs(row.preparation_started_at - timezone.now()) < SECOND
    assert row.created_at == written_by_python
    assert not TranscriptionTask.objects.filter(lease_expires_at__lt=Now()).exists()


def test_microseconds_are_kept():
    task = TaskFactory(queued_at=datetime(2026, 2, 28, 23, 59, 59, 123457, tzinfo=UTC))

    found = TranscriptionTask.objects.filter(queued_at=task.queued_at).get()

    assert found.queued_at == task.queued_at


def test_a_moment_of_the_database_compares_with_one_of_python():
    """SQLite compares texts: both must be written in one way."""
    TaskFactory(queued_at=timezone.now() - SECOND, started_at=timezone.now() + SECOND)
    tasks = TranscriptionTask.objects

    tasks.update(finished_at=Now())

    assert tasks.filter(
        queued_at__lt=F("finished_at"), started_at__gt=F("finished_at")
    ).exists()
    assert tasks.filter(finished_at__gt=timezone.now() - SECOND).exists()
    assert tasks.filter(finished_at__lt=timezone.now() + SECOND).exists()


def test_slots_seen_lately_are_those_seen_lately_here():
    from tests.support.factories import SlotFactory

    alive = SlotFactory()
    SlotFactory(silent=True)

    assert [slot.pk for slot in serving.live_slots()] == [alive.pk]
