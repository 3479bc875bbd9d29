"""The rows of callbacks: made with the end of their task, claimed, tried, given up."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.integration.databases import in_threads
from tests.integration.steps import CASES, STATES, STEPS, complete, fail
from tests.support.factories import (
    AttemptFactory,
    CallbackFactory,
    TaskFactory,
    UserFactory,
)
from tests.support.waiting import patient
from transcription.errors import LeaseLostError, TooManyTestsError
from transcription.models import (
    Callback,
    CallbackAttempt,
    Transcript,
    TranscriptionTask,
)
from transcription.services import callbacks, retention, transitions
from transcription.services.callbacks import CALLBACKS, Claim, Reply
from transcription.services.held_tasks import TASKS
from transcription.work import kinds
from transcription.work.publishing import breaker
from workers.dispatcher import KINDS, Dispatcher

pytestmark = pytest.mark.django_db

State = Callback.State
URL = "https://example.org/hook"


@pytest.fixture(autouse=True)
def exact_delays(monkeypatch, settings) -> None:
    """The schedule without its jitter."""
    monkeypatch.setattr("transcription.services.retry_schedule.JITTER", 0.0)
    settings.CALLBACK_DELAYS = [5.0, 300.0]


def the_row() -> Callback:
    return Callback.objects.get()


def seconds_until(moment: Any) -> float:
    return float((moment - timezone.now()).total_seconds())


def claim(callback: Callback) -> Claim:
    claimed = callbacks.claim(callback.pk, owner="callbacks@tests/1")
    assert claimed is not None
    return claimed


def make_due(callback: Callback) -> None:
    Callback.objects.filter(pk=callback.pk).update(next_attempt_at=Now())


# --- Made with the end of a task -----------------------------------------------------


@pytest.mark.parametrize(("state", "step"), CASES)
def test_a_step_that_ends_a_task_and_no_other_makes_its_callback(state, step):
    task = TaskFactory(**STATES[state], callback_url=URL)
    had_ended = task.is_finished

    try:
        STEPS[step](task)
    except LeaseLostError:
        pass

    task.refresh_from_db()
    expected = [f"task.{task.status}"] if task.is_finished and not had_ended else []
    assert list(Callback.objects.values_list("event", flat=True)) == expected


# What the states above do not reach: the last attempt, the last loss, and the wish to
# cancel as a worker finds it.
LAST_STEPS = [
    ("preparing, leased", "retry_or_fail", {"attempts": 3}, "task.failed"),
    ("processing", "retry_or_fail", {"attempts": 3}, "task.failed"),
    ("preparing, leased", "take_back", {"losses": 2}, "task.failed"),
    ("processing", "take_back", {"losses": 2}, "task.failed"),
    *(
        (state, step, {"cancel_requested_at": timezone.now()}, "task.cancelled")
        for state, step in [
            ("preparing, leased", "finish_preparation"),
            ("preparing, leased", "complete_from"),
            ("preparing, leased", "retry_or_fail"),
            ("preparing, leased", "take_back"),
            ("processing", "retry_or_fail"),
            ("processing", "take_back"),
        ]
    ),
]


@pytest.mark.parametrize(("state", "step", "values", "event"), LAST_STEPS)
def test_a_last_attempt_loss_or_wish_makes_one_callback(state, step, values, event):
    task = TaskFactory(**{**STATES[state], **values}, callback_url=URL)

    STEPS[step](task)

    row = the_row()
    assert (row.task_id, row.event, row.state) == (task.pk, event, State.PENDING)
    assert abs(seconds_until(row.next_attempt_at)) < 5


@pytest.mark.parametrize(("state", "step", "values", "event"), LAST_STEPS)
def test_a_task_without_an_address_gets_no_callback(state, step, values, event):
    STEPS[step](TaskFactory(**{**STATES[state], **values}))

    assert not Callback.objects.exists()


def test_to_end_a_task_takes_one_update_and_no_query_for_each_other_row():
    tasks = [TaskFactory(processing=True, callback_url=URL) for _ in range(3)]

    with CaptureQueriesContext(connection) as captured:
        fail(tasks[0])

    written = [
        query["sql"].split()[0] for query in captured if "SAVEPOINT" not in query["sql"]
    ]
    assert written == ["UPDATE", "SELECT", "INSERT"]


@pytest.mark.django_db(transaction=True)
def test_no_callback_is_made_when_the_completion_is_rolled_back(broker, monkeypatch):
    task = TaskFactory(processing=True, callback_url=URL)

    def break_down(**values: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Transcript.objects, "create", break_down)
    with pytest.raises(RuntimeError):
        complete(task)

    assert not Callback.objects.exists()
    assert broker.queues() == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["complete", "fail", "finish_cancelled", "cancel"])
def test_no_task_ends_when_its_callback_cannot_be_made(monkeypatch, step):
    task = TaskFactory(
        **STATES["queued" if step == "cancel" else "processing"], callback_url=URL
    )
    before = TranscriptionTask.objects.values().get()

    def break_down(**values: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Callback.objects, "create", break_down)
    with pytest.raises(RuntimeError):
        STEPS[step](task)

    assert TranscriptionTask.objects.values().get() == before
    assert not Transcript.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_deliverer_is_woken_once_the_end_is_committed(broker):
    task = TaskFactory(processing=True, callback_url=URL)

    complete(task)

    row = the_row()
    (hint,) = broker.hints("callbacks")
    assert hint.task == "transcription.tasks.deliver_callback"
    assert hint.args == [row.pk]
    assert hint.id == f"{row.public_id}-c1"
    assert row.dispatched_at is not None


@pytest.mark.django_db(transaction=True)
def test_a_callback_takes_what_it_needs_from_its_task():
    headers = {"Authorization": "Bearer x"}
    task = TaskFactory(processing=True, callback_url=URL, callback_headers=headers)

    complete(task)

    row = the_row()
    assert (row.owner_id, row.url, row.headers) == (task.owner_id, URL, headers)


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_the_task_ends_all_the_same():
    task = TaskFactory(processing=True, callback_url=URL)

    complete(task)

    task.refresh_from_db()
    assert task.status == "completed"
    assert the_row().dispatched_at is None


# --- Attempts ------------------------------------------------------------------------


def test_a_claim_begins_an_attempt_under_a_lease(settings):
    settings.CALLBACK_SECONDS, settings.LEASE_SECONDS = 20.0, 15.0
    callback = CallbackFactory()

    claimed = claim(callback)

    row = the_row()
    assert row.lease_token is not None
    assert claimed == Claim(
        CALLBACKS.lease(row.pk, row.lease_token), number=1, failures=0
    )
    assert (row.state, row.attempts) == (State.DELIVERING, 1)
    # Longer than an attempt can take: nobody renews it.
    assert 30 < seconds_until(row.lease_expires_at) <= 35.5
    attempt = CallbackAttempt.objects.get()
    assert (attempt.callback_id, attempt.number) == (row.pk, 1)
    assert attempt.duration_seconds is None


@pytest.mark.parametrize(
    "traits",
    [
        {"later": True},
        {"delivering": True},
        {"delivered": True},
        {"undeliverable": True},
    ],
    ids=str,
)
def test_what_is_not_due_is_neither_claimed_nor_hinted(broker, traits):
    callback = CallbackFactory(**traits)
    before = Callback.objects.values().get()

    assert callbacks.claim(callback.pk, owner="callbacks@tests/2") is None
    assert CALLBACKS.send_hint(callback.pk) is False
    assert CALLBACKS.send_unsent() == 0

    assert Callback.objects.values().get() == before
    assert not CallbackAttempt.objects.exists()
    assert broker.queues() == set()


@pytest.mark.django_db(transaction=True)
def test_of_many_claims_of_one_callback_one_wins():
    ids = [CallbackFactory().pk for _ in range(10)]
    gate = threading.Barrier(4)

    def claim_all() -> list[int]:
        gate.wait(timeout=patient(20))
        return [
            callback_id
            for callback_id in ids
            if callbacks.claim(callback_id, owner="callbacks@tests/1")
        ]

    won = in_threads([claim_all] * 4)

    assert sorted(pk for mine in won for pk in mine) == ids
    assert CallbackAttempt.objects.count() == len(ids)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_a_2xx_answer_delivers(status):
    callback = CallbackFactory()

    state = callbacks.settle(claim(callback), Reply(0.25, http_status=status))

    row = the_row()
    assert state is State.DELIVERED
    assert (row.state, row.http_status, row.failures) == (State.DELIVERED, status, 0)
    assert (row.lease_token, row.lease_owner) == (None, "")
    assert row.ended_at is not None
    attempt = CallbackAttempt.objects.get()
    assert (attempt.http_status, attempt.duration_seconds) == (status, 0.25)


def test_410_ends_it_at_once():
    callback = CallbackFactory()

    state = callbacks.settle(claim(callback), Reply(0.1, http_status=410))

    assert state is State.UNDELIVERABLE
    assert the_row().ended_at is not None


@pytest.mark.parametrize(
    "reply",
    [
        *(
            Reply(0.1, http_status=status)
            for status in (199, 300, 302, 400, 401, 404, 429, 500, 503)
        ),
        Reply(0.1, error_code="timeout"),
    ],
    ids=str,
)
def test_anything_else_is_tried_again_by_the_schedule(reply):
    callback = CallbackFactory()

    for number, delay in enumerate([5, 300], start=1):
        claimed = claim(callback)
        assert (claimed.number, claimed.failures) == (number, number - 1)
        assert callbacks.settle(claimed, reply) is State.PENDING
        row = the_row()
        assert delay - 1 < seconds_until(row.next_attempt_at) <= delay + 0.5
        assert (row.dispatched_at, row.lease_token) == (None, None)
        assert (row.http_status, row.error_code) == (
            reply.http_status,
            reply.error_code,
        )
        make_due(callback)

    assert callbacks.settle(claim(callback), reply) is State.UNDELIVERABLE
    assert the_row().failures == 3
    assert [attempt.number for attempt in callback.history.all()] == [1, 2, 3]


def test_a_blocked_address_ends_it_at_once():
    callback = CallbackFactory()

    state = callbacks.settle(claim(callback), Reply(0.1, error_code="blocked_address"))

    row = the_row()
    assert state is State.UNDELIVERABLE
    assert (row.state, row.error_code) == (State.UNDELIVERABLE, "blocked_address")
    assert row.ended_at is not None


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (Reply(0.1, http_status=204), State.DELIVERED),
        (Reply(0.1, http_status=500), State.UNDELIVERABLE),
        (Reply(0.1, error_code="timeout"), State.UNDELIVERABLE),
    ],
    ids=str,
)
def test_a_test_event_is_tried_once(reply, state):
    callback = CallbackFactory(test=True)

    assert callbacks.settle(claim(callback), reply) is state

    assert (the_row().state, the_row().attempts) == (state, 1)


def test_a_test_event_whose_deliverer_died_is_sent_all_the_same():
    callback = CallbackFactory(test=True)
    claim(callback)
    Callback.objects.update(lease_expires_at=Now() - timedelta(seconds=1))

    CALLBACKS.take_back_expired()

    assert the_row().state == State.PENDING


@pytest.mark.django_db(transaction=True)
def test_of_test_events_at_once_no_more_are_sent_than_there_is_room(monkeypatch):
    monkeypatch.setattr(callbacks, "MOST_TESTS_WAITING", 1)
    owner = UserFactory()
    refused: list[TooManyTestsError] = []

    def send() -> None:
        try:
            callbacks.send_test(owner, "https://example.com/", {})
        except TooManyTestsError as error:
            refused.append(error)
        finally:
            if threading.current_thread() is other:
                connection.close()

    other = threading.Thread(target=send)

    def count_while_another_asks(run: Any, sql: str, *rest: Any) -> Any:
        counted = run(sql, *rest)
        if "COUNT" in sql and other.ident is None:
            other.start()
            # It waits for this transaction; without a lock it would be through by now.
            other.join(0.3)
        return counted

    with connection.execute_wrapper(count_while_another_asks):
        send()
    other.join()

    assert len(refused) == 1
    assert Callback.objects.count() == 1


def test_old_test_events_are_forgotten_and_no_others():
    old, leased, young = CallbackFactory.create_batch(3, test=True, delivered=True)
    of_task = CallbackFactory(delivered=True)
    AttemptFactory(callback=old)
    Callback.objects.update(created_at=Now() - timedelta(days=8))
    Callback.objects.filter(pk=leased.pk).update(lease_token=uuid.uuid4())
    Callback.objects.filter(pk=young.pk).update(created_at=Now() - timedelta(days=6))

    Dispatcher().tick()

    assert set(Callback.objects.all()) == {leased, young, of_task}


def test_a_receiver_that_asks_for_time_gets_it():
    callback = CallbackFactory()
    reply = Reply(0.1, http_status=429, retry_after_seconds=1000)

    callbacks.settle(claim(callback), reply)

    assert 990 < seconds_until(the_row().next_attempt_at) <= 1000.5


def test_a_deliverer_whose_lease_has_run_out_writes_nothing():
    callback = CallbackFactory()
    claimed = claim(callback)
    Callback.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
    CALLBACKS.take_back_expired()
    before = Callback.objects.values().get()

    assert callbacks.settle(claimed, Reply(0.1, http_status=204)) is None

    assert Callback.objects.values().get() == before
    assert CallbackAttempt.objects.get().error_code == "worker_lost"


# --- Taken back, found, begun again --------------------------------------------------


def test_a_dead_deliverers_callback_goes_back_without_a_failure(broker):
    callback = AttemptFactory(callback__expired_lease=True).callback
    running = AttemptFactory().callback

    Dispatcher().tick()

    callback.refresh_from_db()
    running.refresh_from_db()
    assert (callback.state, running.state) == (State.PENDING, State.DELIVERING)
    assert (callback.failures, callback.losses) == (0, 1)
    assert callback.error_code == "worker_lost"
    assert 4 < seconds_until(callback.next_attempt_at) <= 5.5
    assert callback.history.get().error_code == "worker_lost"
    # Its time has not come.
    assert broker.queues() == set()


def test_a_callback_that_kills_its_deliverers_is_given_up():
    callback = CallbackFactory()
    states = []

    for _ in range(3):
        make_due(callback)
        claim(callback)
        Callback.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
        states.append(callbacks.take_back(the_row()))

    assert states == [State.PENDING, State.PENDING, State.UNDELIVERABLE]


def test_a_callback_claimed_anew_is_not_taken_back():
    stale = CallbackFactory(expired_lease=True)
    Callback.objects.update(lease_expires_at=Now() + timedelta(seconds=9))

    assert callbacks.take_back(stale) is None


def test_the_dispatcher_sends_what_is_due(broker):
    never_sent = CallbackFactory()
    retried = CallbackFactory(later=True)
    make_due(retried)
    CallbackFactory(later=True)
    CallbackFactory(dispatched_at=timezone.now())

    Dispatcher().tick()
    Dispatcher().tick()

    assert [hint.args for hint in broker.hints("callbacks")] == [
        [never_sent.pk],
        [retried.pk],
    ]
    assert broker.hints("callbacks")[1].id == f"{retried.public_id}-c2"


def test_an_absent_broker_is_asked_once():
    CallbackFactory.create_batch(3)
    began = time.monotonic()

    assert CALLBACKS.send_unsent() == 0

    assert breaker.is_open()
    assert time.monotonic() - began < patient(3)
    assert not Callback.objects.exclude(dispatched_at=None).exists()


def test_lost_hints_are_found_and_sent_again(broker, monkeypatch):
    monkeypatch.setattr(kinds, "LEAST_AGE", timedelta(0))
    lost, kept = CallbackFactory.create_batch(2)
    CALLBACKS.send_unsent()
    broker.client.rpop("callbacks")
    dispatcher = Dispatcher()

    assert CALLBACKS.forget_lost_hints() == 1

    assert CALLBACKS.send_unsent() == 1

    assert sorted(hint.args for hint in broker.hints("callbacks")) == [
        [lost.pk],
        [kept.pk],
    ]
    assert dispatcher.find_lost_hints(CALLBACKS) == 0


def test_an_emptied_broker_loses_no_callback(broker, monkeypatch):
    monkeypatch.setattr(kinds, "LEAST_AGE", timedelta(0))
    CallbackFactory.create_batch(3)
    task = TaskFactory(queued=True)
    CALLBACKS.send_unsent()
    TASKS.send_hint(task.pk)
    broker.client.flushall()

    dispatcher = Dispatcher()
    assert [dispatcher.find_lost_hints(kind) for kind in KINDS] == [1, 3]

    assert CALLBACKS.send_unsent() == 3


def test_a_hint_that_is_young_or_in_good_hands_is_not_lost(broker):
    CallbackFactory.create_batch(2)
    CALLBACKS.send_unsent()
    broker.client.flushall()

    assert CALLBACKS.forget_lost_hints() == 0


@pytest.mark.parametrize(
    "traits", [{"delivered": True}, {"undeliverable": True}, {"later": True}], ids=str
)
def test_a_callback_begins_again(broker, traits):
    callback = CallbackFactory(**traits)
    before = the_row()

    assert callbacks.begin_again(callback.pk) is True

    row = the_row()
    assert (row.state, row.failures, row.losses) == (State.PENDING, 0, 0)
    assert row.ended_at is None
    # The same event, and its attempts are counted on.
    assert (row.public_id, row.attempts) == (before.public_id, before.attempts)
    assert [hint.args for hint in broker.hints("callbacks")] == [[callback.pk]]
    assert claim(callback).number == before.attempts + 1


def test_an_attempt_under_way_is_not_disturbed(broker):
    callback = CallbackFactory(delivering=True)
    before = Callback.objects.values().get()

    assert callbacks.begin_again(callback.pk) is False

    assert Callback.objects.values().get() == before


# --- Deleted -------------------------------------------------------------------------


def test_callbacks_go_with_their_task():
    callback = CallbackFactory(delivered=True)
    AttemptFactory(callback=callback)

    retention.delete_task(callback.task)

    assert not Callback.objects.exists()
    assert not CallbackAttempt.objects.exists()
    assert CALLBACKS.send_hint(callback.pk) is False


@pytest.mark.django_db(transaction=True)
def test_a_task_may_be_deleted_while_its_callback_is_claimed():
    """A claim inserts an attempt: one that came in mid-deletion would point nowhere."""
    callback = CallbackFactory(later=True)
    AttemptFactory(callback=callback)
    make_due(callback)
    deleting, claimed = threading.Event(), threading.Event()

    def pause_after_attempts(execute, sql, params, many, context):
        answer = execute(sql, params, many, context)
        if sql.startswith("DELETE") and "callbackattempt" in sql:
            deleting.set()
            # Time for the claim, which waits for the lock of its row.
            claimed.wait(1)
        return answer

    def delete() -> None:
        with connection.execute_wrapper(pause_after_attempts):
            retention.delete_task(callback.task)

    def take() -> Claim | None:
        connection.ensure_connection()
        assert deleting.wait(patient(20))
        won = callbacks.claim(callback.pk, owner="callbacks@tests/1")
        claimed.set()
        return won

    _, won = in_threads([delete, take])

    assert won is None
    assert not TranscriptionTask.objects.exists()
    assert not CallbackAttempt.objects.exists()


def test_every_end_of_a_task_is_written_in_one_place():
    """A new arrow that moved rows by itself would make no callback."""
    package = Path(transitions.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in package.glob("*.py"))

    assert code.count("finished_at=Now()") == 1
