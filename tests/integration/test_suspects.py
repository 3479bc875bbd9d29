"""A task whose workers died runs alone, and keeps only its own process waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.support.engines import ScriptedEngine
from tests.support.factories import TaskFactory
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient, wait_for
from transcription.models import TranscriptionTask
from transcription.services import execution, turns
from transcription.services.admission import Admission
from transcription.services.held_tasks import TASKS
from transcription.services.hint_outcome import HintOutcome
from transcription.services.transitions import cancelling, claims
from transcription.services.transitions.lost_workers import LOSSES_FORGIVEN

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_hints", "quiet_heart"),
]

LANE = "demo.normal"
SECOND = b"\0\0" * 16_000


@pytest.fixture
def waiting() -> Callable[..., TranscriptionTask]:
    """Makes a prepared task with its samples."""

    def make(**values: Any) -> TranscriptionTask:
        task: TranscriptionTask = TaskFactory(queued=True, dispatched=True, **values)
        files = TaskFiles(task.public_id)
        files.create()
        files.samples.write_bytes(SECOND)
        return task

    return make


class Process:
    """A worker process of several threads; each job lasts until it is let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.admission = Admission()
        self.let_go = threading.Event()
        self.most_at_once = 0
        self._running = 0
        self._threads: list[threading.Thread] = []

    def take(self) -> None:
        """Have a thread take a hint."""
        thread = threading.Thread(target=self._serve, daemon=True)
        self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        self.let_go.set()
        for thread in self._threads:
            thread.join(patient(20))
            assert not thread.is_alive()

    def _serve(self) -> HintOutcome | None:
        local.process = self
        try:
            return execution.execute(
                LANE, engine=ScriptedEngine(self._work), owner=f"{self.name}/1"
            )
        finally:
            connection.close()

    def _work(self, listener: Any) -> None:
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        self.let_go.wait(patient(20))
        self._running -= 1


local = threading.local()


class AdmissionOfProcess:
    """The admission of the process that the calling thread belongs to."""

    def __getattr__(self, name: str) -> Any:
        return getattr(local.process.admission, name)


@pytest.fixture
def processes(monkeypatch: Any, settings: Any) -> Iterator[list[Process]]:
    settings.LEASE_SECONDS = 2
    monkeypatch.setattr(execution, "admission", AdmissionOfProcess())
    made = [Process("one"), Process("two")]
    yield made
    for process in made:
        process.end()


def status(task: TranscriptionTask) -> tuple[str, str]:
    """Where a task stands, and in which process."""
    task.refresh_from_db()
    return task.status, task.lease_owner.partition("/")[0]


def wait_until(task: TranscriptionTask, *wanted: str) -> None:
    wait_for(lambda: status(task) == wanted, named=lambda: f"{wanted}: {status(task)}")


def is_aside(task: TranscriptionTask) -> bool:
    task.refresh_from_db()
    return task.dispatched_at is None and task.not_before is not None


def test_a_suspect_waits_for_its_own_process_only(waiting, processes):
    one, two = processes
    long = waiting(turn=1)
    one.take()
    wait_until(long, "processing", "one")
    suspect = waiting(turn=1, losses=LOSSES_FORGIVEN)
    others = [waiting(turn=turn) for turn in (2, 3)]

    one.take()
    wait_for(lambda: is_aside(suspect))
    one.take()
    two.take()

    # The first process lets nobody in, the other goes on with whoever is next.
    wait_until(others[0], "processing", "two")
    assert status(others[1]) == ("queued", "")
    one.end()
    wait_until(suspect, "completed", "")
    wait_until(others[1], "completed", "")
    assert one.most_at_once == 1


def test_a_suspect_that_finds_its_process_empty_runs_at_once(waiting, processes):
    suspect = waiting(losses=LOSSES_FORGIVEN)

    processes[0].take()

    wait_until(suspect, "processing", "one")


def test_a_suspect_that_is_cancelled_while_it_waits_holds_nobody_up(waiting, processes):
    one, _ = processes
    long = waiting(turn=1)
    one.take()
    wait_until(long, "processing", "one")
    suspect = waiting(turn=2, losses=LOSSES_FORGIVEN)
    one.take()
    wait_for(lambda: is_aside(suspect))

    cancelling.cancel(suspect.pk)
    last = waiting(turn=3)

    # The hint of the suspect is for whoever is next.
    wait_until(last, "processing", "one")


def test_a_suspect_stays_aside_for_as_long_as_it_waits(waiting, processes, settings):
    one, two = processes
    long = waiting(turn=1)
    one.take()
    wait_until(long, "processing", "one")
    suspect = waiting(turn=2, losses=LOSSES_FORGIVEN)
    one.take()
    wait_for(lambda: is_aside(suspect))
    until = suspect.not_before
    assert until is not None

    wait_for(lambda: timezone.now() > until + timedelta(seconds=0.5))

    assert TASKS.send_unsent() == 0
    two.take()
    assert status(suspect) == ("queued", "")
    one.end()
    wait_until(suspect, "completed", "")


def test_a_suspect_whose_process_died_is_back_after_a_lease(waiting, no_hints):
    suspect = waiting(losses=LOSSES_FORGIVEN)
    chosen = turns.first_in(LANE)
    assert chosen is not None
    assert claims.set_aside(suspect.pk, only_if=chosen.still_first)
    assert not claims.set_aside(suspect.pk, only_if=chosen.still_first)

    assert turns.first_in(LANE) is None
    assert TASKS.send_unsent() == 0
    TranscriptionTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))

    assert TASKS.send_unsent() == 1
    assert no_hints == [suspect.pk]
    # Whoever froze meanwhile has lost it.
    TASKS.mark_dispatched(suspect.pk)
    assert not claims.set_aside(suspect.pk, only_if=chosen.still_aside)


def test_a_task_that_became_a_suspect_is_not_taken_for_another(waiting):
    task = waiting(losses=1)
    chosen = turns.first_in(LANE)
    assert chosen is not None
    TranscriptionTask.objects.filter(pk=task.pk).update(losses=LOSSES_FORGIVEN)

    lease = claims.claim_inference(task.pk, owner="one/1", only_if=chosen.still_first)

    assert lease is None
