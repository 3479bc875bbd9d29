"""A model call that does not return: the process ends, and only its own job pays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.worker import state as celery_state
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from rest_framework.test import APIClient

from tests.support.engines import JOBS_VARIABLE
from tests.support.factories import ApiKeyFactory, TaskFactory
from tests.support.fleet import Fleet
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient, wait_for
from transcription.engines import demo_model
from transcription.engines.base import ModelCall, SilentListener
from transcription.models import TranscriptionTask
from transcription.services.admission import Admission
from transcription.services.execution import JobReporter
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import release
from transcription.work.heartbeat import HeldLease, heartbeat
from transcription.work.kinds import Lease
from workers import watchdog as module
from workers.watchdog import STUCK_STATUS, Watchdog, put_jobs_back

pytestmark = pytest.mark.django_db

SECONDS = 60.0
OWNER = "cpu-7@tests/1"


class Message:
    """A message that this process took, as Celery keeps it."""

    def __init__(self, lane: str) -> None:
        self.args = [lane]


class Model:
    """An engine, as far as a watchdog looks at it."""

    model_call: ModelCall | None = None

    def begin(self, moment: float, *jobs: Any) -> None:
        self.model_call = ModelCall(moment, frozenset(jobs))


@pytest.fixture
def model() -> Any:
    return Model()


@pytest.fixture
def admission() -> Admission:
    return Admission()


@pytest.fixture(autouse=True)
def this_process(monkeypatch, admission) -> None:
    """What a process has once is fresh for each test."""
    monkeypatch.setattr(heartbeat, "owner", OWNER)
    monkeypatch.setattr(module, "admission", admission)
    monkeypatch.setattr(celery_state, "reserved_requests", set())


def job_of(task: Any) -> JobReporter:
    return JobReporter(task, HeldLease(TASKS.lease(task.pk, task.lease_token)))


def running(**values: Any) -> Any:
    return TaskFactory(processing=True, dispatched=True, lease_owner=OWNER, **values)


def counts(task: Any) -> tuple[str, int, int]:
    task.refresh_from_db()
    return (task.status, task.attempts, task.losses)


# --- When a call is stuck ------------------------------------------------------------


def test_a_call_is_stuck_once_it_was_seen_for_the_limit(model):
    watchdog = Watchdog(model, limit_seconds=10)
    model.begin(1.0)

    looks = [watchdog.look() for _ in range(11)]

    assert looks == [None] * 10 + [model.model_call]


def test_calls_that_return_are_not_stuck(model):
    watchdog = Watchdog(model, limit_seconds=10)

    for moment in range(50):
        model.begin(float(moment // 9))
        assert watchdog.look() is None


def test_a_model_that_rests_is_not_stuck(model):
    watchdog = Watchdog(model, limit_seconds=10)

    for number in range(50):
        model.model_call = None if number % 9 == 0 else ModelCall(1.0, frozenset())
        assert watchdog.look() is None


def test_a_process_that_was_frozen_is_well(model):
    """Its call began long ago by the clock; the watchdog was frozen with it."""
    watchdog = Watchdog(model, limit_seconds=10)
    model.begin(-100_000.0)

    assert [watchdog.look() for _ in range(5)] == [None] * 5


@pytest.mark.parametrize("error", [OperationalError, ValueError])
def test_the_process_ends_even_if_its_jobs_do_not_go_back(model, monkeypatch, error):
    def fail(stuck: ModelCall) -> None:
        raise error("no")

    ended: list[int] = []
    monkeypatch.setattr(module, "put_jobs_back", fail)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    model.begin(1.0)

    Watchdog(model, limit_seconds=0.01, end=ended.append).run()

    assert ended == [STUCK_STATUS]


def test_a_look_that_raises_does_not_end_the_watch(model, monkeypatch):
    looks: list[int] = []
    ended: list[int] = []

    def look() -> ModelCall | None:
        looks.append(1)
        if len(looks) == 1:
            raise ValueError("no")
        return ModelCall(1.0, frozenset())

    monkeypatch.setattr(module, "put_jobs_back", lambda stuck: None)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    watchdog = Watchdog(model, limit_seconds=0.01, end=ended.append)
    monkeypatch.setattr(watchdog, "look", look)

    watchdog.run()

    assert ended == [STUCK_STATUS]


# --- What becomes of the jobs --------------------------------------------------------


def test_only_the_jobs_of_the_call_count_a_loss(model):
    guilty, neighbour, elsewhere = running(), running(), TaskFactory(processing=True)
    model.begin(1.0, job_of(guilty))

    put_jobs_back(model.model_call)

    assert counts(guilty) == ("queued", 0, 1)
    assert counts(neighbour) == ("queued", 0, 0)
    assert counts(elsewhere) == ("processing", 1, 0)
    # The dispatcher sends their hints.
    assert guilty.dispatched_at is None
    assert neighbour.dispatched_at is None


def test_a_call_that_is_nobodys_may_be_anybodys(model):
    tasks = [running(), running()]
    model.begin(1.0)

    put_jobs_back(model.model_call)

    assert [counts(task) for task in tasks] == [("queued", 0, 1)] * 2


def test_a_call_of_an_unknown_kind_of_job_is_nobodys(model):
    task = running()
    model.begin(1.0, SilentListener())

    put_jobs_back(model.model_call)

    assert counts(task) == ("queued", 0, 1)


def test_a_job_that_was_alone_in_the_stuck_call_fails_and_its_media_go(model):
    guilty = running(losses=2)
    files = TaskFiles(guilty.public_id)
    files.create()
    files.samples.write_bytes(b"samples")
    model.begin(1.0, job_of(guilty))

    put_jobs_back(model.model_call)

    assert counts(guilty) == ("failed", 1, 3)
    assert guilty.error_code == "worker_lost"
    assert not files.exist()


def test_a_job_that_is_to_be_cancelled_ends(model):
    guilty, cancelled = running(), running()
    TranscriptionTask.objects.filter(pk=cancelled.pk).update(
        cancel_requested_at=cancelled.started_at
    )
    model.begin(1.0, job_of(guilty))

    put_jobs_back(model.model_call)

    assert counts(cancelled)[0] == "cancelled"
    assert counts(guilty)[0] == "queued"


def test_a_neighbour_that_ends_meanwhile_keeps_nobody_from_going_back(
    model, monkeypatch
):
    guilty, ended, neighbour = running(), running(), running()
    hand_back = release.hand_back

    def after_the_end_of_one(lease: Lease) -> Any:
        TranscriptionTask.objects.filter(pk=ended.pk).update(
            status="completed", lease_token=None
        )
        return hand_back(lease)

    monkeypatch.setattr(release, "hand_back", after_the_end_of_one)
    model.begin(1.0, job_of(guilty))

    put_jobs_back(model.model_call)

    assert counts(ended)[0] == "completed"
    assert counts(neighbour) == ("queued", 0, 0)


def test_hints_that_this_process_took_are_sent_anew(model):
    """A message that nobody claims stays with the dead process for a day."""
    running()
    tasks = [TaskFactory(queued=True, dispatched=True) for _ in range(3)]
    other = TaskFactory(queued=True, dispatched=True, priority="high")
    # One of them belongs to the job that runs.
    celery_state.reserved_requests |= {Message("demo.normal") for _ in range(2)}
    model.begin(1.0)

    put_jobs_back(model.model_call)

    for task in (*tasks, other):
        task.refresh_from_db()
    # One of its lane; whichever it is, the others have enough.
    assert [task.dispatched_at is None for task in tasks] == [False, False, True]
    assert other.dispatched_at is not None


def test_nobody_is_let_in_any_more(model, admission):
    model.begin(1.0)
    put_jobs_back(model.model_call)
    entered = threading.Event()

    def enter() -> None:
        with admission.enter():
            entered.set()

    threading.Thread(target=enter, daemon=True).start()

    assert not entered.wait(0.2)


# --- A real process ------------------------------------------------------------------


@pytest.fixture
def watched_fleet(fleet: Fleet) -> Iterator[Fleet]:
    """A fleet whose inference worker takes several jobs and has little patience."""
    fleet.ensure_no_inference()
    changes = {JOBS_VARIABLE: "4", "WHISPERHUB_MODEL_CALL_SECONDS": "4"}
    fleet.environment.update(changes)
    fleet.ensure_inference()
    yield fleet
    for name in changes:
        del fleet.environment[name]
    fleet.ensure_no_inference()


@pytest.fixture
def submit(transactional_db) -> Callable[..., Any]:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {ApiKeyFactory().secret}")

    def send(**fields: Any) -> Any:
        sample = demo_model.samples()[0].path.read_bytes()
        data = {"file": SimpleUploadedFile("a.wav", sample), **fields}
        answer = client.post("/api/v1/tasks/", data, format="multipart")
        assert answer.status_code == 201, answer.content
        return TranscriptionTask.objects.get(public_id=answer.json()["id"])

    return send


@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_a_stuck_process_ends_and_its_neighbours_run_again(watched_fleet, submit):
    fleet = watched_fleet

    def wait(tasks: list[Any], status: str) -> None:
        pks = [task.pk for task in tasks]
        rows = TranscriptionTask.objects.filter(pk__in=pks, status=status)
        wait_for(
            lambda: rows.count() == len(pks),
            seconds=SECONDS,
            named=lambda: f"{status} {fleet.said()}",
        )

    with fleet.stuck() as call:
        with fleet.held():
            neighbours = [submit() for _ in range(3)]
            wait(neighbours, "processing")
            guilty = submit(initial_prompt="We meet in Tokyo.")
            wait_for(call.exists, seconds=SECONDS, named=fleet.said)
        # From here on the neighbours wait for the model.
        status = fleet.inference.process.wait(patient(SECONDS))

        assert status == STUCK_STATUS, fleet.said()
        assert counts(guilty) == ("queued", 0, 1)
        assert [counts(task) for task in neighbours] == [("queued", 0, 0)] * 3
    fleet.ensure_inference()

    wait([guilty, *neighbours], "completed")
    assert counts(guilty) == ("completed", 1, 1)
    assert [counts(task) for task in neighbours] == [("completed", 1, 0)] * 3
