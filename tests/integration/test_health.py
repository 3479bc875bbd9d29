"""/readyz, and the row by which a dispatcher says that it is there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.utils import timezone

from tests.integration.databases import in_threads
from tests.support.factories import TaskFactory
from transcription.models import DispatcherTick
from transcription.services import health
from transcription.services.held_tasks import TASKS
from transcription.work import publishing
from workers.dispatcher import Dispatcher

pytestmark = pytest.mark.django_db


def ticked(seconds_ago: float, host: str = "here", *, failing: str = "") -> None:
    moment = timezone.now() - timedelta(seconds=seconds_ago)
    DispatcherTick.objects.create(host=host, pid=1, ticked_at=moment, failing=failing)


def ask() -> tuple[int, dict[str, str]]:
    answer = Client().get("/readyz")
    assert "no-store" in answer.headers["Cache-Control"]
    return answer.status_code, answer.json()


# --- What is told --------------------------------------------------------------------


def test_a_service_whose_parts_are_there_is_ok(broker):
    ticked(1)

    assert ask() == (
        200,
        {"status": "ok", "database": "ok", "broker": "ok", "dispatcher": "ok"},
    )


@pytest.mark.parametrize(
    ("seconds", "said"), [(8, "ok"), (15, "late"), (55, "late"), (70, "missing")]
)
def test_a_dispatcher_is_late_and_then_missing(broker, seconds, said):
    ticked(seconds)

    status, body = ask()

    # Jobs still flow without it.
    assert status == 200
    assert body["dispatcher"] == said
    assert body["status"] == ("ok" if said == "ok" else "degraded")


def test_a_dispatcher_that_never_was_is_missing(broker):
    assert ask()[1]["dispatcher"] == "missing"


def test_one_lively_dispatcher_is_enough(broker):
    ticked(1000, host="there")
    ticked(1)

    assert ask()[1]["dispatcher"] == "ok"


def test_a_slow_round_by_the_operators_choice_is_not_late(broker, settings):
    settings.DISPATCH_SECONDS = 300
    ticked(200)

    assert ask()[1]["dispatcher"] == "ok"


def test_without_a_broker_requests_are_still_answered():
    ticked(1)

    status, body = ask()

    assert status == 200
    assert (body["status"], body["broker"]) == ("degraded", "away")


def test_a_broker_that_has_just_failed_is_not_waited_for(broker):
    ticked(1)
    publishing.breaker.trip(OSError("away"))

    assert ask()[1]["broker"] == "away"


def test_without_a_database_no_request_can_be_answered(broker, monkeypatch):
    def fail(seconds: float) -> bool:
        raise OperationalError("gone")

    monkeypatch.setattr(health, "_ticked_within", fail)

    assert ask() == (
        503,
        {
            "status": "unavailable",
            "database": "away",
            "broker": "ok",
            "dispatcher": "unknown",
        },
    )


def test_strangers_who_ask_again_cost_no_query(broker, django_assert_num_queries):
    ticked(1)
    ask()

    with django_assert_num_queries(0):
        for _ in range(10):
            assert ask()[0] == 200


def test_what_was_found_is_looked_at_again(broker, monkeypatch):
    assert ask()[1]["dispatcher"] == "missing"
    ticked(1)
    monkeypatch.setattr(health, "RECENT_SECONDS", 0.0)

    assert ask()[1]["dispatcher"] == "ok"


def test_one_look_at_a_time_holds_a_thread(monkeypatch):
    """A database that does not answer holds one of those who ask."""
    found = health.Readiness(health.Health.OK, health.Health.OK, health.Health.OK)
    looking, go_on = threading.Event(), threading.Event()
    recent = health.RecentReadiness()
    monkeypatch.setattr(health, "RECENT_SECONDS", 0.0)
    monkeypatch.setattr(health, "readiness", lambda: found)
    assert recent.get() is found

    def wait() -> health.Readiness:
        looking.set()
        assert go_on.wait(20)
        return health.Readiness(
            health.Health.AWAY, health.Health.AWAY, health.Health.AWAY
        )

    monkeypatch.setattr(health, "readiness", wait)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(recent.get)
        assert looking.wait(20)
        others = [recent.get() for _ in range(5)]
        go_on.set()

    assert others == [found] * 5
    assert held.result().database is health.Health.AWAY


def test_it_is_only_asked():
    assert Client().post("/readyz").status_code == 405


# --- The dispatcher's row ------------------------------------------------------------


def test_each_round_is_noted(no_hints):
    ticked(1000, host="elsewhere")
    before = timezone.now() - timedelta(seconds=1)
    dispatcher = Dispatcher()

    dispatcher.tick()
    dispatcher.tick()

    tick = DispatcherTick.objects.exclude(host="elsewhere").get()
    assert before < tick.ticked_at < timezone.now() + timedelta(seconds=1)


def test_a_round_without_a_database_is_not_noted(no_hints, monkeypatch):
    dispatcher = Dispatcher()

    def fail() -> int:
        raise InterfaceError("away")

    monkeypatch.setattr(TASKS, "send_unsent", fail)

    dispatcher.tick()

    assert not DispatcherTick.objects.exists()


def test_a_step_that_fails_is_told_until_it_succeeds(broker, monkeypatch):
    dispatcher = Dispatcher()
    failures = iter([True, True, False])

    def send() -> int:
        if next(failures):
            raise ValueError("no")
        return 0

    monkeypatch.setattr(TASKS, "send_unsent", send)

    said = []
    for _ in range(3):
        dispatcher.tick()
        said.append(health.readiness())

    assert [found.dispatcher for found in said] == ["failing", "failing", "ok"]
    assert [found.status for found in said] == ["degraded", "degraded", "ok"]


def test_a_row_that_fails_is_told_as_its_step(no_hints, monkeypatch):
    TaskFactory(queued=True)

    def send(task_id: int) -> bool:
        raise ValueError("no")

    monkeypatch.setattr(TASKS, "send_hint", send)

    Dispatcher().tick()

    assert DispatcherTick.objects.get().failing == "send_hints_of_tasks"


def test_one_dispatcher_without_failures_is_enough(broker):
    ticked(1, host="there", failing="sweep")
    ticked(1)

    assert ask()[1]["dispatcher"] == "ok"


def test_machines_that_are_gone_are_forgotten(no_hints):
    ticked(2 * 86_400, host="gone")
    ticked(3600, host="late")

    Dispatcher().tick()

    hosts: Any = DispatcherTick.objects.values_list("host", flat=True)
    assert "late" in hosts
    assert "gone" not in hosts


def test_a_machine_with_a_long_name_has_a_row(no_hints, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 255)

    health.note_tick()
    health.note_tick()

    # SQLite would take it all; other databases take so much, or refuse.
    assert len(DispatcherTick.objects.get().host) == health.HOST_LENGTH


@pytest.mark.django_db(transaction=True)
def test_several_dispatchers_of_a_machine_share_a_row():
    in_threads([health.note_tick] * 4)

    assert DispatcherTick.objects.count() == 1
