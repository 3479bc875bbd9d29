"""Two connections at once: one claim wins, no lock conflict reaches a job."""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial

import pytest
from django.db import OperationalError, connection, transaction

from tests.integration.databases import (
    SERVERS_ONLY,
    in_threads,
    kill_own_connection,
)
from tests.integration.steps import complete, lease_of
from tests.support.factories import TaskFactory, UserFactory
from tests.support.waiting import patient
from transcription import database
from transcription.database import persistently
from transcription.errors import LeaseLostError
from transcription.models import OwnerInLane, Transcript, TranscriptionTask
from transcription.services import retention, turns
from transcription.services.held_tasks import TASKS
from transcription.services.submission import Link, TaskRequest, submit_link
from transcription.services.transitions import claims, failure, recording
from transcription.work.kinds import Lease

pytestmark = pytest.mark.django_db(transaction=True)

Status = TranscriptionTask.Status


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(database, "FIRST_PAUSE_SECONDS", 0.02)


# --- Who is first --------------------------------------------------------------------


def test_of_many_claims_of_one_task_one_wins():
    ids = [TaskFactory(queued=True).pk for _ in range(20)]
    gate = threading.Barrier(4)

    def claim_all() -> list[int]:
        gate.wait()
        return [
            task_id
            for task_id in ids
            if claims.claim_inference(task_id, owner="cpu-0@tests/1")
        ]

    taken = Counter(task for won in in_threads([claim_all] * 4) for task in won)

    assert taken == dict.fromkeys(ids, 1)
    assert set(TranscriptionTask.objects.values_list("attempts", flat=True)) == {1}


def test_workers_that_choose_the_same_task_take_each_once_and_leave_none():
    owners = UserFactory.create_batch(3)
    for turn in range(1, 13):
        for owner in owners:
            TaskFactory(owner=owner, queued=True, dispatched=True, turn=turn)
    gate = threading.Barrier(4)

    def claim_all() -> list[int]:
        claimed = []
        gate.wait()
        while chosen := turns.first_in("demo.normal"):
            lease = claims.claim_inference(
                chosen.task_id, owner="cpu-0@tests/1", only_if=chosen.still_first
            )
            if lease:
                claimed.append(chosen.task_id)
        return claimed

    taken = Counter(task for won in in_threads([claim_all] * 4) for task in won)

    tasks = TranscriptionTask.objects
    assert taken == dict.fromkeys(tasks.values_list("pk", flat=True), 1)
    assert not tasks.exclude(status=Status.PROCESSING).exists()
    started = OwnerInLane.objects.filter(lane="demo.normal")
    assert list(started.values_list("started_turn", flat=True)) == [12] * 3


def test_tasks_that_come_at_once_have_turns_of_their_own(no_hints):
    """Else an owner with many connections would have as many turns at once."""
    owner = UserFactory()
    gate = threading.Barrier(4)

    def submit() -> None:
        gate.wait()
        for _ in range(5):
            submit_link(owner, Link("http://127.0.0.1:9/a.wav"), TaskRequest())

    in_threads([submit] * 4)

    given = TranscriptionTask.objects.values_list("turn", flat=True)
    assert sorted(given) == list(range(1, 21))


def test_gaps_are_closed_while_tasks_start():
    owners = UserFactory.create_batch(2)
    for owner, first in zip(owners, (1, 100), strict=True):
        for turn in range(first, first + 15):
            TaskFactory(owner=owner, queued=True, dispatched=True, turn=turn)
    gate = threading.Barrier(3)

    def claim_all() -> None:
        gate.wait()
        while chosen := turns.first_in("demo.normal"):
            claims.claim_inference(
                chosen.task_id, owner="cpu-0@tests/1", only_if=chosen.still_first
            )

    def close_gaps() -> None:
        gate.wait()
        while TranscriptionTask.objects.filter(status=Status.QUEUED).exists():
            turns.close_gaps()

    in_threads([claim_all, close_gaps, close_gaps])

    given = TranscriptionTask.objects.values_list("turn", flat=True)
    last = OwnerInLane.objects.order_by("-started_turn")[0]
    assert last.started_turn == max(given)


@SERVERS_ONLY
def test_a_change_that_meets_another_order_of_locks_is_done_again():
    """MySQL, in a hundred tries, deadlocks in some; PostgreSQL in none."""
    for _ in range(10):
        tasks = [TaskFactory(processing=True) for _ in range(5)]

        def settle(tasks=tasks) -> None:
            for task in tasks:
                try:
                    complete(task)
                except LeaseLostError:
                    pass

        def delete(tasks=tasks) -> None:
            for task in tasks:
                retention.delete_task(task)

        in_threads([settle, delete])

    assert not TranscriptionTask.objects.exists()


def test_leases_are_renewed_while_their_jobs_come_and_go():
    """On MySQL the two orders of locks can meet; neither side may lose anything."""
    ids = [TaskFactory(queued=True).pk for _ in range(30)]
    held: dict[int, Lease] = {}
    done = threading.Event()

    def work(mine: list[int]) -> None:
        for task_id in mine:
            lease = claims.claim_inference(task_id, owner="cpu-0@tests/1")
            assert lease is not None
            held[task_id] = lease
            recording.record_progress(lease, 0.5)
            failure.fail(lease, code="no_audio", message="None.")
            del held[task_id]

    def work_all() -> None:
        in_threads([partial(work, ids[:15]), partial(work, ids[15:])])
        done.set()

    def renew() -> None:
        while not done.is_set():
            TASKS.renew(list(held.values()))

    in_threads([work_all, renew])

    assert set(TranscriptionTask.objects.values_list("status", flat=True)) == {
        Status.FAILED
    }


@pytest.mark.parametrize("first", ["complete", "delete"])
def test_a_task_may_be_deleted_while_its_transcript_is_stored(first):
    task = TaskFactory(processing=True)
    stored, deleting = threading.Event(), threading.Event()

    def store() -> None:
        if first == "delete":
            deleting.wait()
        try:
            if first == "delete":
                return complete(task)
            with transaction.atomic():
                complete(task)
                stored.set()
                # The other side waits for this row's lock, or, on SQLite, for all.
                deleting.wait()
                time.sleep(0.2)
        except LeaseLostError:
            pass

    def delete() -> None:
        if first == "complete":
            stored.wait()
        deleting.set()
        retention.delete_task(task)

    in_threads([store, delete])

    assert not TranscriptionTask.objects.exists()
    assert not Transcript.objects.exists()


# --- Conflicts of locks --------------------------------------------------------------


@SERVERS_ONLY
def test_the_victim_of_a_deadlock_tries_again():
    one, other = TaskFactory(), TaskFactory()
    gate = threading.Barrier(2)
    tries: list[int] = []

    def write_both(first: int, second: int) -> None:
        tries.append(first)
        with transaction.atomic():
            TranscriptionTask.objects.filter(pk=first).update(progress=0.1)
            if len(tries) <= 2:
                gate.wait()
            TranscriptionTask.objects.filter(pk=second).update(progress=0.1)

    in_threads(
        [
            lambda: persistently(lambda: write_both(one.pk, other.pk)),
            lambda: persistently(lambda: write_both(other.pk, one.pk)),
        ]
    )

    assert len(tries) == 3


def test_a_lock_that_is_held_for_long_is_waited_for():
    task = TaskFactory(processing=True)
    locked, waited = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            TranscriptionTask.objects.filter(pk=task.pk).update(progress=0.1)
            locked.set()
            assert waited.wait(patient(10))

    def write() -> None:
        locked.wait()
        impatient(connection)
        attempts = 0

        def record() -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 2:
                waited.set()
            if attempts > 1:
                impatient(connection)
            recording.record_progress(lease_of(task), 0.5)

        persistently(record, seconds=20)

    in_threads([hold, write])

    assert TranscriptionTask.objects.get().progress == 0.5


def impatient(connection) -> None:
    """Make this session give up waiting for a lock after a moment."""
    statements = {
        "sqlite": "PRAGMA busy_timeout = 50",
        "mysql": "SET SESSION innodb_lock_wait_timeout = 1",
        "postgresql": "SET lock_timeout = '50ms'",
    }
    with connection.cursor() as cursor:
        cursor.execute(statements[connection.vendor])


# --- Connections that break ----------------------------------------------------------


@SERVERS_ONLY
@pytest.mark.parametrize("after", ["before", "between", "at the commit"])
def test_a_result_is_stored_once_though_the_connection_breaks(after):
    task = TaskFactory(processing=True)
    breaks = iter([True])

    def cut(now: str) -> None:
        if now == after and next(breaks, False):
            kill_own_connection()

    def store() -> None:
        cut("before")
        with transaction.atomic():
            TranscriptionTask.objects.filter(pk=task.pk).update(progress=0.9)
            cut("between")
            complete(task)
            cut("at the commit")

    persistently(store)

    assert TranscriptionTask.objects.get().status == Status.COMPLETED
    assert Transcript.objects.count() == 1


@SERVERS_ONLY
def test_a_connection_that_broke_while_idle_is_replaced():
    task = TaskFactory(processing=True)
    kill_own_connection()

    persistently(lambda: recording.record_progress(lease_of(task), 0.5))

    assert TranscriptionTask.objects.get().progress == 0.5


@SERVERS_ONLY
def test_a_fresh_connection_reads_committed_rows_in_utc():
    """What is set once per session must be set in the next one too."""
    task = TaskFactory(processing=True)
    kill_own_connection()

    def read_twice() -> tuple[float, float]:
        tasks = TranscriptionTask.objects.filter(pk=task.pk)
        with transaction.atomic():
            before = tasks.get().progress
            in_threads([lambda: tasks.update(progress=0.7)])
            return before, tasks.get().progress

    assert persistently(read_twice) == (0.0, 0.7)
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@session.time_zone, @@session.sql_mode")
            zone, mode = cursor.fetchone()
        assert zone == "+00:00"
        assert "STRICT_TRANS_TABLES" in mode


def test_an_error_that_time_does_not_heal_is_raised_at_once():
    began = time.monotonic()

    with pytest.raises(Exception, match=r"(?i)no_such_column"):
        persistently(
            lambda: TranscriptionTask.objects.extra(where=["no_such_column"])[0]
        )

    assert time.monotonic() - began < patient(5)


def test_a_broken_transaction_is_not_repeated_inside_itself():
    """Its first half would be missing; the outermost block is what can be repeated."""
    calls = []

    def fail() -> None:
        calls.append(1)
        raise OperationalError(2006, "gone")

    with transaction.atomic(), pytest.raises(OperationalError):
        persistently(fail)

    assert len(calls) == 1
