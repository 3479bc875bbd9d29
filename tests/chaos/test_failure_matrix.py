"""What dies, freezes or forgets, one at a time, and how soon all is well again.

docs/chaos.md tells which test proves which row of the failure matrix. Times are those
of the default settings: a lease of 15 s, a round of the dispatcher every 2 s.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.chaos import moves
from tests.chaos.checks import check_done
from tests.chaos.deadly import DEADLY_FILE, deadly_samples
from tests.chaos.service import TWO_SLOTS, Service, Stopwatch
from tests.support.processes import is_alive
from tests.support.recordings import RECORDINGS, read_recording, silence, to_wav
from tests.support.waiting import patient, wait_for
from transcription.accuracy import word_error_rate
from transcription.models import Transcript, TranscriptionTask
from transcription.services.held_tasks import INFERENCE_TASK, PREPARE_TASK
from whisperhub.queues import PREPARE, queue

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SPEECH = RECORDINGS["en"].path.read_bytes()
SHORT = to_wav(silence(1.0))
ONE_SLOT = "one=cpu=demo"
SINGLE_FILE = "single=cpu=demo"
TRIES = 20

Status = TranscriptionTask.Status


@pytest.fixture(scope="module")
def running(tmp_path_factory, django_db_blocker) -> Iterator[Service]:
    """One service for all tests of this file."""
    folder = tmp_path_factory.mktemp("chaos")
    with django_db_blocker.unblock(), Service(folder, database="chaos") as service:
        moves.write_down("chaos")
        yield service


@pytest.fixture(scope="module")
def plan(request: pytest.FixtureRequest) -> str:
    """The slots of a test."""
    return str(getattr(request, "param", ONE_SLOT))


def on(plan: str) -> pytest.MarkDecorator:
    """Have a test run on these slots; tests with the same ones follow each other."""
    return pytest.mark.parametrize("plan", [plan], indirect=True, scope="module")


@pytest.fixture
def service(running: Service, plan: str) -> Iterator[Service]:
    """The service with its slots; afterwards nothing has happened twice."""
    running.replan(plan)
    yield running
    running.resume_all()
    assert not moves.doubled(running.database)
    # A job that a failed test left must not meet the next one.
    running.tasks.exclude(status__in=TranscriptionTask.FINAL).delete()


def text_of(service: Service, task_id: str) -> str:
    transcripts = Transcript.objects.using(service.database)
    return transcripts.get(task__public_id=task_id).text


# --- Inference workers ---------------------------------------------------------------


def test_a_killed_worker_is_restarted_and_runs_its_jobs_again(service, record):
    with service.held():
        jobs = [service.submit(SPEECH) for _ in range(3)]
        service.wait_for_status(jobs, Status.PROCESSING)

        killed = service.kill("one")
        watch = Stopwatch()
        wait_for(lambda: service.slot_pids().get("one") not in (None, killed))
        service.wait_for_status(jobs, Status.PROCESSING)

        record("worker killed and restarted", watch.seconds, at_most=10)
    check_done(service, jobs, losses=[1])
    assert (
        word_error_rate(RECORDINGS["en"].texts["en"], text_of(service, jobs[0])) < 0.3
    )


def wait_for_another_slot(service: Service, job: str, first: str) -> None:
    """Return when a job runs in another slot than its first."""
    wait_for(
        lambda: service.slot_of(job) not in ("", first), seconds=60, named=service.said
    )


@on(TWO_SLOTS)
def test_jobs_of_a_dead_worker_go_to_another_slot(service, record):
    with service.held():
        job = service.submit(SPEECH)
        service.wait_for_status([job], Status.PROCESSING)
        first = service.slot_of(job)

        # As if its machine were gone: nobody is told, nobody starts it again.
        with service.frozen_alone("inference"):
            service.kill(first)
            watch = Stopwatch()
            wait_for_another_slot(service, job, first)
            record("worker gone, another slot", watch.seconds, at_most=20)
    check_done(service, [job], losses=[1])


@on(TWO_SLOTS)
def test_a_worker_that_was_frozen_past_its_lease_writes_nothing(service, record):
    with service.held():
        job = service.submit(SPEECH)
        service.wait_for_status([job], Status.PROCESSING)
        first = service.slot_of(job)
        with service.frozen(first):
            watch = Stopwatch()
            wait_for_another_slot(service, job, first)
            record("worker frozen, another slot", watch.seconds, at_most=20)
            service.gate.unlink()
            check_done(service, [job], losses=[1])
            before = service.tasks.values().get(public_id=job)

        wait_for(lambda: f"{job}: lease lost" in service.said(), named=service.said)
    assert service.tasks.values().get(public_id=job) == before
    check_done(service, [job], losses=[1])


@on(TWO_SLOTS)
def test_a_worker_that_is_told_to_stop_finishes_its_jobs(service):
    with service.held():
        jobs = [service.submit(SPEECH) for _ in range(2)]
        service.wait_for_status(jobs, Status.PROCESSING)
        first = service.slot_of(jobs[0])
        former = service.pid(first)
        os.kill(former, signal.SIGTERM)
        wait_for(lambda: "Warm shutdown" in service.printed("inference"))
        # The last one that it was handed, or the first of the other slot.
        later = service.submit(SPEECH)
        service.wait_for_status([later], Status.PROCESSING)
        assert is_alive(former)

    check_done(service, [*jobs, later])
    wait_for(lambda: service.slot_pids().get(first) not in (None, former), seconds=30)


@on(TWO_SLOTS)
def test_slots_come_back_after_their_launcher_and_its_guard_were_killed(service):
    with service.held():
        job = service.submit(SPEECH)
        service.wait_for_status([job], Status.PROCESSING)
        former = service.slot_pids()
        # Without the guard the slots live on until their jobs are done.
        service.kill_alone("inference", and_guard=True)
        wait_for(
            lambda: "is served by process" in service.printed("inference"),
            seconds=60,
            named=service.said,
        )

    check_done(service, [job])
    wait_for(
        lambda: not any(map(is_alive, former.values())), seconds=60, named=service.said
    )
    service.wait_for_slots()


# --- Media workers -------------------------------------------------------------------


def test_what_kills_decoders_and_what_kills_models_take_nobody_along(service):
    kills_decoder = DEADLY_FILE
    kills_model = to_wav(deadly_samples(read_recording("en")))
    bad = [service.submit(kills_decoder)]
    with service.held():
        good = [service.submit(SPEECH) for _ in range(7)]
        bad.append(service.submit(kills_model))
        # All eight in one process.
        service.wait_for_status([*good, bad[1]], Status.PROCESSING)

    # One that was done before the second death has lost one worker only.
    check_done(service, good, losses=[1, 2])
    for failed in service.wait_for_status(bad, Status.FAILED):
        assert (failed.error_code, failed.losses) == ("worker_lost", 3)
    # Their uploads, so that they may start again.
    wait_for(
        lambda: all(
            [Path(path).name for path in service.files_of(task)] == [task, "original"]
            for task in bad
        )
    )


def test_a_hint_that_died_with_an_idle_worker_is_sent_again(service, record):
    job = submitted_to_a_dying_worker(service)
    watch = Stopwatch()

    check_done(service, [job])

    record("hint lost with a killed worker", watch.seconds, at_most=15)


def is_dispatched(service: Service, task_id: str) -> bool:
    return service.task(task_id).dispatched_at is not None


def submitted_to_a_dying_worker(service: Service) -> str:
    """Submit a task whose hint dies with the worker that was just handed it."""
    for _ in range(TRIES):
        with service.frozen("media"):
            # It waits for the next message for a second at a time: where that second
            # ends before the message comes, nobody takes it.
            job = service.submit(SPEECH)
            wait_for(partial(is_dispatched, service, job))
            if not service.hints(PREPARE):
                assert job not in str(service.broker.hvals("unacked"))
                service.kill("media")
                return job
        check_done(service, [job])
    raise AssertionError("No message was handed to a frozen worker.")


# --- The broker ----------------------------------------------------------------------


def test_after_a_flush_all_queued_work_is_dispatched_again(service, record):
    with service.held():
        running = [service.submit(SPEECH) for _ in range(8)]
        service.wait_for_status(running, Status.PROCESSING)
        waiting = [
            service.submit(SHORT, priority=priority)
            for priority in ("low", "normal", "high") * 2
        ]
        service.wait_for_status(waiting, Status.QUEUED)
        wait_for(lambda: service.hints("demo") == len(waiting), named=service.said)

        service.broker.flushall()
        watch = Stopwatch()
        wait_for(
            lambda: service.hints("demo") == len(waiting),
            seconds=30,
            named=service.said,
        )

        record("broker flushed, all dispatched", watch.seconds, at_most=5)
    check_done(service, [*running, *waiting])


@on(SINGLE_FILE)
def test_the_order_is_strict_after_the_broker_was_restarted(service):
    with service.held():
        first = service.submit(SPEECH)
        service.wait_for_status([first], Status.PROCESSING)

        service.restart_broker()
        service.wait_for_consumer("single")
        waiting = [
            service.submit(SHORT, priority=priority)
            for priority in ("low", "low", "normal", "high", "high")
        ]
        service.wait_for_status(waiting, Status.QUEUED)
        # The busy worker has taken none of them.
        wait_for(
            lambda: service.hints("demo") == len(waiting),
            seconds=30,
            named=service.said,
        )

    check_done(service, [first, *waiting])
    started = service.tasks.filter(public_id__in=waiting).order_by("started_at")
    order = [row.priority for row in started]
    assert order == ["high", "high", "normal", "low", "low"]


def test_a_silent_broker_delays_one_answer_only(service, record):
    with service.frozen("broker"):
        watch = Stopwatch()
        jobs = [service.submit(SPEECH)]
        record("answer, broker silent", watch.seconds, at_most=15)
        watch = Stopwatch()
        jobs.append(service.submit(SPEECH))
        record("next answer, broker silent", watch.seconds, at_most=1)

    check_done(service, jobs)


def test_a_full_broker_delays_the_hint_only(service):
    service.broker.config_set("maxmemory", "1")
    try:
        job = service.submit(SPEECH)
        wait_for(lambda: "hint not sent" in service.said(), named=service.said)
        assert service.task(job).dispatched_at is None
    finally:
        service.broker.config_set("maxmemory", "0")

    check_done(service, [job])


def test_doubled_and_stale_messages_run_nothing_twice(service):
    with service.held():
        job = service.submit(SPEECH)
        service.wait_for_status([job], Status.PROCESSING)
        send_doubles(service)
        wait_for(lambda: service.hints("demo") == 0, named=service.said)
    check_done(service, [job])
    before = service.tasks.values().get(public_id=job)

    send_doubles(service)
    last = service.submit(SPEECH)

    check_done(service, [last])
    wait_for(lambda: service.hints("demo") == service.hints(PREPARE) == 0)
    assert service.tasks.values().get(public_id=job) == before


def send_doubles(service: Service) -> None:
    """Messages that wake workers for nobody, several times."""
    for _ in range(5):
        for name, kind in (
            (PREPARE_TASK, PREPARE),
            (INFERENCE_TASK, "demo"),
        ):
            lane = f"{kind}.normal"
            service.celery.send_task(name, args=[lane], queue=queue(lane))


# --- The dispatcher ------------------------------------------------------------------


def test_jobs_flow_without_a_dispatcher(service):
    # A test before may have harmed the broker. For a while after that only a dispatcher
    # sends hints, and finds those that went to a connection which was just ending.
    service.wait_for_publishers()
    check_done(service, [service.submit(SPEECH)])

    with service.frozen("dispatcher"):
        check_done(service, [service.submit(SPEECH) for _ in range(2)])

    killed = service.kill("dispatcher")
    wait_for(lambda: service.pid("dispatcher") != killed)


def test_two_dispatchers_do_nothing_twice(service):
    second = subprocess.Popen(
        [sys.executable, "manage.py", "rundispatcher"],
        cwd=ROOT,
        env={**os.environ, **service.stack.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        started = "Dispatcher started"
        wait_for(
            lambda: f"[{second.pid}]" in service.lines_with(started),
            seconds=60,
            named=service.said,
        )
        with service.held():
            running = [service.submit(SPEECH) for _ in range(8)]
            service.wait_for_status(running, Status.PROCESSING)
            waiting = [service.submit(SHORT) for _ in range(12)]
            service.wait_for_status(waiting, Status.QUEUED)
            service.broker.flushall()
            wait_for(
                lambda: service.hints("demo") >= len(waiting),
                seconds=30,
                named=service.said,
            )
        check_done(service, [*running, *waiting])
    finally:
        second.terminate()
        second.wait(patient(30))
