"""The launcher keeps its slots whatever goes wrong beside them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from django.db import InterfaceError

from tests.support.waiting import patient, wait_for
from transcription.engines.plan import SlotPlan, parse_slot
from transcription.services import slots
from workers import launcher as module
from workers.launcher import Launcher
from workers.supervisor import Program, Supervisor

PLAN = [
    parse_slot(f"{name}=cpu=demo", number, "faster-whisper")
    for number, name in enumerate(("one", "other"))
]


@pytest.fixture
def launch(monkeypatch) -> Iterator[Callable[..., tuple[Launcher, Supervisor]]]:
    """Start a launcher whose slots do nothing; it stops at the end of the test."""

    def program_for(slot: SlotPlan) -> Program:
        return Program(name=slot.name, command=["sleep", "60"], must_start=False)

    monkeypatch.setattr(module, "program_for", program_for)
    running: list[tuple[Supervisor, threading.Thread]] = []

    def start(
        read_plan: Callable[[], Sequence[SlotPlan]] = lambda: PLAN,
    ) -> tuple[Launcher, Supervisor]:
        launcher = Launcher(PLAN, read_plan=read_plan)
        supervisor = launcher._supervisor
        thread = threading.Thread(target=supervisor.run)
        running.append((supervisor, thread))
        thread.start()
        wait_for(lambda: len(supervisor.pids()) == len(PLAN))
        return launcher, supervisor

    yield start
    for supervisor, thread in running:
        supervisor.request_stop()
        thread.join(timeout=patient(20))
        assert not thread.is_alive()


def test_a_database_that_is_away_as_a_slot_dies_costs_no_slot(launch, monkeypatch):
    def away(prefix: str) -> int:
        raise InterfaceError("away")

    monkeypatch.setattr(slots, "release_jobs", away)
    monkeypatch.setattr(module, "persistently", lambda act, seconds: act())
    _, supervisor = launch()
    before = supervisor.pids()

    os.kill(before["one"], signal.SIGKILL)

    wait_for(lambda: supervisor.pids().get("one") not in (None, before["one"]))
    assert supervisor.pids()["other"] == before["other"]


def test_a_slot_is_replaced_though_the_jobs_of_the_former_cannot_be_freed(
    launch, monkeypatch
):
    def away(prefix: str) -> int:
        raise InterfaceError("away")

    monkeypatch.setattr(slots, "release_jobs", away)
    monkeypatch.setattr(module, "persistently", lambda act, seconds: act())
    changed = [parse_slot("one=cpu=base", 0, "faster-whisper"), PLAN[1]]
    launcher, supervisor = launch(lambda: changed)
    before = supervisor.pids()

    launcher.reload()

    wait_for(lambda: supervisor.pids().get("one") not in (None, before["one"]))


@pytest.mark.parametrize("error", [ValueError, PermissionError])
def test_a_plan_that_cannot_be_read_again_changes_nothing(launch, error):
    def unreadable() -> Sequence[SlotPlan]:
        raise error("no")

    launcher, supervisor = launch(unreadable)
    before = supervisor.pids()

    launcher.reload()

    assert supervisor.pids() == before
