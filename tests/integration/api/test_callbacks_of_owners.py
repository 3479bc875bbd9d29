"""The API of callbacks: what became of them, once more, and a test event."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.integration.api.conftest import TASKS
from tests.support.factories import AttemptFactory, CallbackFactory, TaskFactory
from tests.support.problems import read_problem
from transcription.models import Callback
from transcription.services import callbacks

pytestmark = pytest.mark.django_db

CALLBACKS = "/api/v1/callbacks/"
TEST = f"{CALLBACKS}test/"
REPLAY = f"{CALLBACKS}replay/"
HEADERS = {"Authorization": "Bearer do-not-tell"}

State = Callback.State


@pytest.fixture
def of_owner(owner: Any) -> Any:
    """Make a callback of the client's owner."""

    def make(**traits: Any) -> Callback:
        task = TaskFactory(
            owner=owner,
            completed=True,
            callback_url="https://example.org/hook",
            callback_headers=HEADERS,
        )
        made: Callback = CallbackFactory(task=task, **traits)
        return made

    return make


def address(callback: Callback) -> str:
    return f"{CALLBACKS}{callback.public_id}/"


# --- Reading -------------------------------------------------------------------------


def test_a_callback_is_shown_with_each_attempt(client, of_owner):
    callback = of_owner(later=True, attempts=2)
    AttemptFactory(callback=callback, http_status=500, duration_seconds=0.25)
    AttemptFactory(callback=callback, number=2, error_code="timeout")

    response = client.get(address(callback))

    assert response.status_code == 200
    body = response.json()
    assert body.pop("attempts") == [
        {
            "number": 1,
            "started_at": moment(callback.history.first().started_at),
            "duration_seconds": 0.25,
            "http_status": 500,
            "error_code": "",
        },
        {
            "number": 2,
            "started_at": moment(callback.history.last().started_at),
            "duration_seconds": None,
            "http_status": None,
            "error_code": "timeout",
        },
    ]
    assert body == {
        "id": str(callback.public_id),
        "event": "task.completed",
        "task": str(callback.task.public_id),
        "callback_url": "https://example.org/hook",
        "callback_header_names": ["Authorization"],
        "state": "pending",
        "attempt_count": 2,
        "http_status": 500,
        "error_code": "",
        "created_at": moment(callback.created_at),
        "next_attempt_at": moment(callback.next_attempt_at),
        "ended_at": None,
        "links": {
            "self": f"http://testserver{address(callback)}",
            "replay": f"http://testserver{address(callback)}replay/",
        },
    }
    assert "do-not-tell" not in response.content.decode()


def moment(value: Any) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}"


@pytest.mark.parametrize("trait", ["delivered", "undeliverable", "delivering"])
def test_a_callback_that_waits_for_nothing_has_no_next_attempt(client, of_owner, trait):
    body = client.get(address(of_owner(**{trait: True}))).json()

    assert body["state"] == trait
    assert body["next_attempt_at"] is None


def test_a_task_lists_its_callbacks_with_each_attempt(client, of_owner):
    callback = AttemptFactory(callback=of_owner(later=True)).callback
    of_owner()

    body = client.get(f"{TASKS}{callback.task.public_id}/callbacks/").json()

    assert body["total_count"] == 1
    assert body["results"] == [client.get(address(callback)).json()]
    assert len(body["results"][0]["attempts"]) == 1


def test_a_task_without_an_address_lists_none(client, owner):
    task = TaskFactory(owner=owner, completed=True)

    assert client.get(f"{TASKS}{task.public_id}/callbacks/").json()["results"] == []


def test_the_list_is_of_the_owner_newest_first(client, of_owner):
    made = [of_owner(), of_owner(delivered=True), of_owner(undeliverable=True)]
    CallbackFactory()

    body = client.get(CALLBACKS).json()

    assert [row["id"] for row in body["results"]] == [
        str(callback.public_id) for callback in reversed(made)
    ]
    assert "attempts" not in body["results"][0]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"state": "undeliverable"}, ["old", "test"]),
        ({"state": "delivered"}, ["new"]),
        ({"event": "callback.test"}, ["test"]),
        ({"created_after": "2020-06-01T00:00:00Z"}, ["new", "test"]),
        ({"created_before": "2020-06-01T00:00:00Z"}, ["old"]),
        ({"created_before": "2020-01-01T00:00:00Z"}, []),
        ({"created_after": "2020-01-01T00:00:00Z"}, ["old", "new", "test"]),
    ],
    ids=str,
)
def test_filters(client, owner, of_owner, query, shown):
    made = {
        "old": of_owner(undeliverable=True),
        "new": of_owner(delivered=True),
        "test": CallbackFactory(test=True, owner=owner, undeliverable=True),
    }
    Callback.objects.filter(pk=made["old"].pk).update(created_at="2020-01-01T00:00Z")

    body = client.get(CALLBACKS, query).json()

    ids = {row["id"] for row in body["results"]}
    assert [name for name, row in made.items() if str(row.public_id) in ids] == shown


@pytest.mark.parametrize("name", ["state", "event", "created_after", "created_before"])
def test_a_filter_that_makes_no_sense_is_an_error(client, name):
    read_problem(client.get(CALLBACKS, {name: "nonsense"}), 400, "invalid")


@pytest.mark.parametrize("of_task", [True, False])
def test_a_list_asks_the_same_for_many_rows(client, of_owner, of_task):
    callback = AttemptFactory(callback=of_owner()).callback
    path = f"{TASKS}{callback.task.public_id}/callbacks/" if of_task else CALLBACKS

    def count_queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(path)
        return len(captured)

    count_queries()
    few = count_queries()
    AttemptFactory(callback=callback, number=2)
    # No task has several events yet; the list does not rely on that.
    for event in ("task.failed", "task.cancelled"):
        more = CallbackFactory(task=callback.task, event=event)
        AttemptFactory(callback=more)
        of_owner()

    assert count_queries() == few


@pytest.mark.parametrize(
    ("method", "path"), [("get", ""), ("post", "replay/")], ids=["read", "replay"]
)
def test_a_callback_of_another_owner_does_not_exist(client, method, path):
    other = CallbackFactory(delivered=True)

    response = getattr(client, method)(f"{address(other)}{path}")

    read_problem(response, 404, "not_found")
    other.refresh_from_db()
    assert other.state == State.DELIVERED


@pytest.mark.parametrize(
    ("method", "path"), [("get", CALLBACKS), ("post", TEST), ("post", REPLAY)]
)
def test_without_a_key_there_is_nothing(stranger, method, path):
    read_problem(getattr(stranger, method)(path), 401, "not_authenticated")


# --- Once more -----------------------------------------------------------------------


@pytest.mark.parametrize("trait", ["delivered", "undeliverable", "later"])
def test_a_callback_is_sent_once_more(client, of_owner, broker, trait):
    callback = of_owner(**{trait: True})

    response = client.post(f"{address(callback)}replay/")

    assert response.status_code == 202
    assert response.json()["state"] == "pending"
    assert response.json()["ended_at"] is None
    assert response.json() == client.get(address(callback)).json()
    assert [hint.args for hint in broker.hints("callbacks")] == [[callback.pk]]


def test_what_is_being_sent_is_left_alone(client, of_owner):
    callback = of_owner(delivering=True)

    response = client.post(f"{address(callback)}replay/")

    read_problem(response, 409, "delivery_under_way")


def test_what_was_given_up_in_a_time_is_sent_once_more(client, owner, of_owner):
    def at(hour: int, made: Callback) -> Callback:
        Callback.objects.filter(pk=made.pk).update(
            created_at=f"2026-05-01T{hour:02}:00:00Z"
        )
        return made

    first, second = (at(hour, of_owner(undeliverable=True)) for hour in (9, 10))
    untouched: list[Callback] = [
        at(8, of_owner(undeliverable=True)),
        at(11, of_owner(undeliverable=True)),
        at(10, of_owner(delivered=True)),
        at(10, of_owner(delivering=True)),
        at(10, CallbackFactory(test=True, undeliverable=True, owner=owner)),
        at(10, CallbackFactory(undeliverable=True)),
    ]
    states = [callback.state for callback in untouched]

    response = client.post(
        REPLAY,
        {
            "created_after": "2026-05-01T09:00:00Z",
            "created_before": "2026-05-01T11:00:00Z",
        },
        format="json",
    )

    assert response.status_code == 202
    assert response.json() == {"count": 2}
    for callback in (first, second):
        callback.refresh_from_db()
        assert (callback.state, callback.failures) == (State.PENDING, 0)
        assert callback.next_attempt_at <= timezone.now() + timedelta(seconds=2)
        assert callback.dispatched_at is None
    for callback in untouched:
        callback.refresh_from_db()
    assert [callback.state for callback in untouched] == states


def test_many_callbacks_begin_again_in_one_update(client, of_owner):
    for _ in range(5):
        of_owner(undeliverable=True)

    with CaptureQueriesContext(connection) as captured:
        client.post(REPLAY, {"created_after": "2020-01-01T00:00:00Z"}, format="json")

    written = [query for query in captured if "UPDATE" in query["sql"].split()[:1]]
    assert len([sql for sql in written if "_callback" in sql["sql"]]) == 1
    assert Callback.objects.filter(state=State.PENDING).count() == 5


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "created_after"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_after": "2020-01-01", "x": 1}, "x"),
        (
            {"created_after": "2020-01-01T00:00Z", "created_before": 5},
            "created_before",
        ),
    ],
    ids=str,
)
def test_a_time_that_makes_no_sense_is_refused(client, of_owner, fields, named):
    callback = of_owner(undeliverable=True)

    body = read_problem(client.post(REPLAY, fields, format="json"), 400, "invalid")

    assert named in body["errors"]
    callback.refresh_from_db()
    assert callback.state == State.UNDELIVERABLE


# --- A test event --------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_test_event_is_left_to_the_deliverer(client, owner, broker):
    response = client.post(
        TEST,
        {"callback_url": "https://example.org/hook", "callback_headers": HEADERS},
        format="json",
    )

    assert response.status_code == 202
    body = response.json()
    row = Callback.objects.get()
    assert (row.owner, row.task, row.event) == (owner, None, "callback.test")
    assert (row.url, row.headers) == ("https://example.org/hook", HEADERS)
    assert (body["state"], body["task"], body["attempts"]) == ("pending", None, [])
    assert body["callback_header_names"] == ["Authorization"]
    assert "do-not-tell" not in response.content.decode()
    assert client.get(response.headers["Location"]).json() == body
    assert [hint.args for hint in broker.hints("callbacks")] == [[row.pk]]


def test_forms_do_as_well(client, of_owner):
    callback = of_owner(undeliverable=True)

    tested = client.post(
        TEST,
        {"callback_url": "http://a/", "callback_headers": json.dumps(HEADERS)},
        format="multipart",
    )
    replayed = client.post(
        REPLAY, {"created_after": "2020-01-01T00:00:00Z"}, format="multipart"
    )

    assert tested.status_code == 202
    assert tested.json()["callback_header_names"] == ["Authorization"]
    assert replayed.json() == {"count": 1}
    callback.refresh_from_db()
    assert callback.state == State.PENDING


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "callback_url"),
        ({"callback_url": "nowhere"}, "callback_url"),
        ({"callback_url": "http://a/", "callback_headers": []}, "callback_headers"),
        ({"callback_url": "http://a/", "url": "http://b/"}, "url"),
    ],
    ids=str,
)
def test_a_test_event_must_have_somewhere_to_go(client, fields, named):
    body = read_problem(client.post(TEST, fields, format="json"), 400, "invalid")

    assert list(body["errors"]) == [named]
    assert not Callback.objects.exists()


def test_test_events_do_not_crowd_out_others(client, owner):
    waiting = CallbackFactory.create_batch(
        callbacks.MOST_TESTS_WAITING, test=True, owner=owner
    )
    CallbackFactory.create_batch(3, test=True)
    wanted = {"callback_url": "https://example.org/hook"}

    read_problem(client.post(TEST, wanted, format="json"), 429, "too_many_tests")

    Callback.objects.filter(pk=waiting[0].pk).update(state=State.DELIVERED)
    assert client.post(TEST, wanted, format="json").status_code == 202
