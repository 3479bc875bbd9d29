"""What `transcription.work` promises, kept for a kind of work that it does not know."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from tests.held_work import models
from tests.held_work.models import ERRANDS, Errand, cancel, claim, finish
from tests.integration.test_interleavings import interrupted
from tests.support.factories import TaskFactory
from tests.support.waiting import wait_for
from transcription.errors import LeaseLostError, TaskCancelledError
from transcription.services.held_tasks import TASKS
from transcription.work import kinds
from transcription.work.heartbeat import Heartbeat
from transcription.work.kinds import Lease

pytestmark = pytest.mark.django_db


@pytest.fixture
def heart(monkeypatch: pytest.MonkeyPatch) -> Heartbeat:
    """A heart that beats only when it is told to."""
    monkeypatch.setattr(Heartbeat, "_start", lambda self: None)
    return Heartbeat()


def claimed(errand: Errand) -> Lease:
    lease = claim(errand.pk)
    assert lease is not None
    return lease


def expire(errand: Errand) -> None:
    """As time does when the worker of a row was killed."""
    long_ago = timezone.now() - timedelta(seconds=1)
    Errand.objects.filter(pk=errand.pk).update(lease_expires_at=long_ago)


def hand_back_or_finish(lease: Lease) -> None:
    if not ERRANDS.hand_back(lease, Q(cancel_requested_at=None)):
        finish(lease)


def test_a_third_kind_takes_a_page():
    written = Path(models.__file__).read_text(encoding="utf-8")

    assert len(written.splitlines()) <= 60


def test_work_whose_lease_ran_out_is_done_by_another(broker):
    errand = Errand.objects.create()
    former = claimed(errand)
    assert claim(errand.pk) is None
    assert ERRANDS.take_back_expired() == 0
    expire(errand)

    assert ERRANDS.take_back_expired() == 1
    assert ERRANDS.send_unsent() == 1
    (hint,) = broker.hints("errands")
    later = claimed(Errand.objects.get(pk=hint.args[0]))
    with pytest.raises(LeaseLostError):
        finish(former)
    finish(later)

    errand.refresh_from_db()
    assert (errand.state, errand.losses, errand.lease_token) == ("done", 1, None)


def errand_end() -> datetime:
    """When the lease of the only errand runs out."""
    end = Errand.objects.get().lease_expires_at
    assert end is not None
    return end


HOLDER = """
import sys, time
import django
django.setup()
from tests.held_work.models import claim
from transcription.work.heartbeat import heartbeat
with heartbeat.hold(claim(int(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.django_db(transaction=True)
def test_a_process_keeps_its_lease_until_it_is_killed():
    errand = Errand.objects.create()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.support.process_settings",
        "TESTS_DATABASE_NAME": str(connection.settings_dict["NAME"]),
    }
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(errand.pk)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            first_end = errand_end()
            wait_for(lambda: errand_end() > first_end)
            assert ERRANDS.take_back_expired() == 0
        finally:
            holder.kill()

    wait_for(lambda: ERRANDS.take_back_expired() == 1)
    finish(claimed(errand))
    errand.refresh_from_db()
    assert (errand.state, errand.losses) == ("done", 1)


def test_a_lost_hint_is_sent_again(broker, monkeypatch):
    monkeypatch.setattr(kinds, "LEAST_AGE", timedelta(0))
    lost, kept = Errand.objects.create(), Errand.objects.create()
    assert ERRANDS.send_unsent() == 2
    broker.client.rpop("errands")

    assert ERRANDS.forget_lost_hints() == 1
    assert ERRANDS.send_unsent() == 1

    assert {hint.args[0] for hint in broker.hints("errands")} == {lost.pk, kept.pk}
    assert ERRANDS.forget_lost_hints() == 0


def test_without_a_broker_a_row_waits_for_its_hint():
    errand = Errand.objects.create()

    assert ERRANDS.send_hint(errand.pk) is False

    errand.refresh_from_db()
    assert (errand.state, errand.dispatched_at) == ("waiting", None)


def test_one_heart_renews_leases_of_all_kinds(heart):
    errand, task = Errand.objects.create(), TaskFactory(leased=True)
    soon = timezone.now() + timedelta(seconds=0.5)
    lease = claimed(errand)
    rows: tuple[Any, ...] = (errand, task)
    for row in rows:
        type(row).objects.filter(pk=row.pk).update(lease_expires_at=soon)

    with (
        heart.hold(lease),
        heart.hold(TASKS.lease(task.pk, task.lease_token)) as of_task,
    ):
        cancel(errand.pk)
        heart.beat()

    for row in rows:
        row.refresh_from_db()
        assert row.lease_expires_at > soon
    assert not of_task.should_stop()


def test_a_kind_that_cannot_be_renewed_keeps_no_other_from_it(heart, monkeypatch):
    def fail(leases: list[Lease]) -> dict[object, bool]:
        raise ValueError("no")

    monkeypatch.setattr(ERRANDS, "renew", fail)
    task = TaskFactory(leased=True)
    with (
        heart.hold(claimed(Errand.objects.create())),
        heart.hold(TASKS.lease(task.pk, task.lease_token)) as of_task,
    ):
        type(task).objects.filter(pk=task.pk).update(lease_token=None)
        heart.beat()

    assert of_task.lost.is_set()


def test_a_wish_to_cancel_reaches_the_worker(heart):
    errand = Errand.objects.create()

    with heart.hold(claimed(errand)) as held:
        cancel(errand.pk)
        heart.beat()
        with pytest.raises(TaskCancelledError):
            held.check()
        held.apply(finish)

    errand.refresh_from_db()
    assert (errand.state, errand.lease_token) == ("cancelled", None)


def take_back(errand: Errand, lease: Lease) -> None:
    ERRANDS.take_back(Errand.objects.get(pk=errand.pk))


STEPS = {
    "finish": lambda errand, lease: finish(lease),
    "take_back": take_back,
    "hand_back": lambda errand, lease: hand_back_or_finish(lease),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_cancellation_between_two_statements_is_never_lost(step: str):
    for moment in count():
        errand = Errand.objects.create()
        lease = claimed(errand)
        expire(errand)

        with interrupted(moment, partial(cancel, errand.pk)) as happened:
            STEPS[step](errand, lease)

        if not happened:
            break
        # What is still held is taken back with the next look.
        ERRANDS.take_back_expired()
        errand.refresh_from_db()
        assert (errand.state, errand.lease_token) == ("cancelled", None)
    assert moment > 0


@pytest.mark.parametrize("step", STEPS)
def test_a_step_between_the_statements_of_a_cancellation_does_not_lose_it(step: str):
    for moment in count():
        errand = Errand.objects.create()
        lease = claimed(errand)
        expire(errand)

        with interrupted(moment, partial(STEPS[step], errand, lease)) as happened:
            cancel(errand.pk)

        if not happened:
            break
        ERRANDS.take_back_expired()
        errand.refresh_from_db()
        # It came too late for work that had ended.
        ended = "done" if step == "finish" else "cancelled"
        assert (errand.state, errand.lease_token) == (ended, None)
    assert moment > 0
