"""Callbacks on their way to a real server, whatever that server does."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from openai import InvalidWebhookSignatureError, OpenAI
from rest_framework.test import APIClient
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.factories import (
    ApiKeyFactory,
    CallbackFactory,
    CallbackSecretFactory,
    TaskFactory,
)
from tests.support.network import open_sockets
from tests.support.receivers import (
    Receiver,
    a_byte_a_second,
    answering,
    dripping,
    dripping_body,
    endless_redirect,
    hanging_up,
    running_receiver,
    silent,
    unused_address,
)
from tests.support.waiting import patient, wait_for
from transcription.documents import events
from transcription.documents.events import event_body
from transcription.models import Callback, CallbackAttempt, TranscriptionTask
from transcription.services import callback_secrets, callbacks, delivery
from transcription.services.delivery import deliver
from transcription.work.heartbeat import heartbeat
from whisperhub.network.posting import PostError, post
from workers.dispatcher import Dispatcher

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.one_database,
    pytest.mark.usefixtures("quiet_heart"),
]

State = Callback.State


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def due(receiver: Receiver) -> Callback:
    """A callback to the receiver."""
    return callback_to(receiver.url)


def callback_to(url: str, **traits: Any) -> Callback:
    traits = traits or {"completed": True}
    made: Callback = CallbackFactory(task=TaskFactory(callback_url=url, **traits))
    return made


def attempt(callback: Callback) -> State | None:
    """Make the next attempt, as if its time had come."""
    Callback.objects.filter(pk=callback.pk).update(next_attempt_at=Now())
    state = deliver(callback.pk, owner="callbacks@tests/1")
    callback.refresh_from_db()
    return state


def last_attempt() -> CallbackAttempt:
    return CallbackAttempt.objects.latest("number")


# --- What is sent --------------------------------------------------------------------


def test_an_event_is_posted_with_its_id_and_the_time(receiver, due):
    assert attempt(due) is State.DELIVERED

    (request,) = receiver.received
    assert (request.method, request.path) == ("POST", "/hook?key=1")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == str(due.public_id)
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5
    assert int(request.headers["content-length"]) == len(request.body)
    assert "authorization" not in request.headers


def test_headers_that_were_taken_before_they_were_refused_are_not_sent(receiver, due):
    due.headers = {"X-Real-IP": "127.0.0.1", "X_Token": "a", "X-Token": "b"}
    due.save()

    attempt(due)

    (request,) = receiver.received
    assert request.headers["x-token"] == "b"
    assert not {"x-real-ip", "x_token"} & set(request.headers)


@pytest.mark.parametrize("rotations", [0, 1, 2])
def test_the_official_library_takes_the_event_with_every_valid_secret(
    receiver, due, rotations
):
    owner_id = due.task.owner_id
    callback_secrets.secrets_of(owner_id)
    for _ in range(rotations):
        callback_secrets.rotate(owner_id)

    attempt(due)

    (request,) = receiver.received
    valid = callback_secrets.secrets_of(owner_id)
    assert len(valid) == 1 + rotations
    assert len(request.headers["webhook-signature"].split()) == 1 + rotations
    for row in valid:
        event = Webhook(row.secret).verify(request.body, request.headers)
        assert event == request.json()


def test_the_openai_sdk_takes_the_event(receiver, due):
    attempt(due)

    (request,) = receiver.received
    (row,) = callback_secrets.secrets_of(due.task.owner_id)
    with OpenAI(api_key="none", webhook_secret=row.secret) as sdk:
        sdk.webhooks.verify_signature(request.body, request.headers)
        with pytest.raises(InvalidWebhookSignatureError):
            sdk.webhooks.verify_signature(request.body + b" ", request.headers)


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "body", "secret"])
def test_a_change_of_anything_breaks_the_signature(receiver, due, part):
    attempt(due)
    (request,) = receiver.received
    (row,) = callback_secrets.secrets_of(due.task.owner_id)
    headers, body, secret = dict(request.headers), request.body, row.secret

    if part == "body":
        body += b" "
    elif part == "secret":
        secret = CallbackSecretFactory().secret
    else:
        headers[part] = headers[part][:-1] + ("1" if headers[part][-1] != "1" else "2")

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_every_attempt_is_signed_anew_with_what_is_valid_then(receiver, due, settings):
    settings.CALLBACK_SECRET_OVERLAP_SECONDS = 0
    receiver.then(answering(500))
    attempt(due)
    (newest,) = callback_secrets.rotate(due.task.owner_id)

    attempt(due)

    first, second = receiver.received
    Webhook(newest.secret).verify(second.body, second.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(newest.secret).verify(first.body, first.headers)


def test_the_machines_time_zone_does_not_matter(receiver, due, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        attempt(due)
    finally:
        monkeypatch.undo()
        time.tzset()

    (request,) = receiver.received
    (row,) = callback_secrets.secrets_of(due.task.owner_id)
    Webhook(row.secret).verify(request.body, request.headers)


def test_the_clients_own_headers_go_along(receiver):
    headers = {"Authorization": "Bearer x", "X-Tenant": "a, b"}

    attempt(callback_to(receiver.url, completed=True, callback_headers=headers))

    (request,) = receiver.received
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["x-tenant"] == "a, b"


def test_a_test_event_says_that_it_is_one(receiver):
    test = CallbackFactory(test=True, url=receiver.url, headers={"X-Tenant": "a"})

    assert attempt(test) is State.DELIVERED

    (request,) = receiver.received
    (secret,) = callback_secrets.secrets_of(test.owner_id)
    event = Webhook(secret.secret).verify(request.body, request.headers)
    assert event["type"] == "callback.test"
    assert parse_datetime(event["timestamp"]) == test.created_at
    assert isinstance(event["data"]["message"], str)
    assert request.headers["webhook-id"] == str(test.public_id)
    assert request.headers["x-tenant"] == "a"


def test_the_event_shows_the_task_as_the_api_does(receiver, due, settings):
    settings.PUBLIC_URL = "http://testserver"
    client = APIClient()
    secret = ApiKeyFactory(owner=due.task.owner).secret
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    shown = client.get(f"/api/v1/tasks/{due.task.public_id}/").json()
    result = client.get(shown["links"]["result"]).json()

    attempt(due)

    event = receiver.received[0].json()
    assert set(event) == {"type", "timestamp", "data"}
    assert event["type"] == "task.completed"
    assert parse_datetime(event["timestamp"]) == due.task.finished_at
    assert event["data"] == {**shown, "result": result}
    assert result["text"] == "We meet in Tokyo. Peter plays."


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_task_that_ended_otherwise_says_so(receiver, state):
    attempt(callback_to(receiver.url, **{state: True}))

    event = receiver.received[0].json()
    assert event["type"] == f"task.{state}"
    assert event["data"]["status"] == state
    assert event["data"]["result"] is None
    assert (event["data"]["error"] is not None) == (state == "failed")


@pytest.mark.parametrize("short_by", [0, 1])
def test_a_result_above_the_limit_is_only_linked(receiver, due, settings, short_by):
    attempt(due)
    whole = receiver.received[0].json()["data"]["result"]
    length = len(json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode())
    settings.CALLBACK_RESULT_BYTES = length - short_by
    callbacks.begin_again(due.pk)

    attempt(due)

    data = receiver.received[1].json()["data"]
    assert data["result"] == (None if short_by else whole)
    assert data["links"]["result"] == f"/api/v1/tasks/{data['id']}/result/"


def test_a_long_transcript_is_not_even_loaded(due, settings, monkeypatch):
    settings.CALLBACK_RESULT_BYTES = 5
    monkeypatch.setattr(events, "result_document", None)

    assert json.loads(event_body(due))["data"]["result"] is None


def test_neither_lease_nor_path_is_told(due, settings):
    text = event_body(due).decode()

    assert "lease" not in text
    assert str(settings.MEDIA_ROOT) not in text


# --- What comes back -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "state"),
    [
        (answering(204), 204, State.DELIVERED),
        (answering(200, b"thanks"), 200, State.DELIVERED),
        (dripping_body, 200, State.DELIVERED),
        (answering(500, b"oh"), 500, State.PENDING),
        (answering(404), 404, State.PENDING),
        (answering(302, Location="/elsewhere"), 302, State.PENDING),
        (endless_redirect, 302, State.PENDING),
        (answering(410), 410, State.UNDELIVERABLE),
    ],
)
def test_the_status_decides(receiver, due, answer, status, state):
    receiver.always(answer)

    assert attempt(due) is state

    made = last_attempt()
    assert (made.http_status, made.error_code) == (status, "")
    assert made.duration_seconds is not None
    assert 0 <= made.duration_seconds < 5
    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(receiver, due, status):
    receiver.always(answering(status, Retry_After="3000"))

    assert attempt(due) is State.PENDING

    left = due.next_attempt_at - timezone.now()
    assert timedelta(seconds=2900) < left <= timedelta(seconds=3001)


@pytest.mark.parametrize("behaviour", [silent, dripping])
def test_a_server_that_does_not_come_to_an_end_is_left(
    receiver, due, settings, behaviour
):
    settings.CALLBACK_SECONDS = 0.5
    receiver.always(behaviour)
    began = time.monotonic()

    assert attempt(due) is State.PENDING

    # Both go on for longer.
    assert 0.4 < time.monotonic() - began < patient(5)
    assert last_attempt().error_code == "timeout"


def test_headers_that_are_cut_off_are_no_answer(receiver):
    """To http.client a connection that ends inside the headers has sent them all."""
    receiver.always(
        lambda connection, closed: dripping(
            connection, closed, start=b"HTTP/1.1 200 OK\r\n"
        )
    )

    with pytest.raises(PostError, match="timeout"):
        post(receiver.url, b"", headers={}, seconds=0.5)


@pytest.mark.parametrize(
    ("answer", "code"), [(b"", "timeout"), (b"HTTP/1.1 400 No\r\n\r\n", "tls_failed")]
)
def test_a_server_that_does_not_speak_tls_is_told_apart(answer, code):
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                connection.sendall(answer)
                done.wait(patient(10))

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"

        # Only who waits in vain must not wait long.
        seconds = 0.5 if code == "timeout" else patient(10)

        with pytest.raises(PostError, match=code):
            post(url, b"", headers={}, seconds=seconds)

        done.set()
        thread.join()


@pytest.mark.parametrize("behaviour", [hanging_up, answering(7)], ids=["gone", "junk"])
def test_a_server_that_speaks_no_http_is_tried_again(receiver, due, behaviour):
    receiver.always(behaviour)

    assert attempt(due) is State.PENDING

    assert last_attempt().error_code == "connection_failed"


def test_a_refused_connection_is_tried_again():
    callback = callback_to(unused_address())

    assert attempt(callback) is State.PENDING

    assert (callback.http_status, callback.error_code) == (None, "connection_failed")


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://a b/", f"http://{'a' * 64}.localhost/", "ftp://a"]
)
def test_an_address_that_cannot_be_used_is_an_error_like_others(url):
    """The API refuses these; a row may come from elsewhere."""
    callback = callback_to(url)

    assert attempt(callback) is State.PENDING

    assert callback.error_code in {"request_failed", "connection_failed"}


def test_a_proxy_of_the_environment_is_not_asked(receiver, due, monkeypatch):
    monkeypatch.setenv("http_proxy", unused_address())
    monkeypatch.setenv("HTTP_PROXY", unused_address())
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    assert attempt(due) is State.DELIVERED


@pytest.mark.parametrize(
    ("behaviour", "seconds"), [(dripping, 0.3), (answering(204), 20)]
)
def test_neither_connection_nor_thread_is_left_behind(settings, behaviour, seconds):
    settings.CALLBACK_SECONDS = seconds
    before = open_sockets()

    with running_receiver() as receiver:
        receiver.always(behaviour)
        attempt(callback_to(receiver.url))

    wait_for(lambda: not any(map(is_timer, threading.enumerate())), seconds=5)
    wait_for(lambda: open_sockets() <= before)


def is_timer(thread: threading.Thread) -> bool:
    return isinstance(thread, threading.Timer)


# --- To its end ----------------------------------------------------------------------


def to_the_end(callback: Callback) -> list[Any]:
    """Make attempts until the schedule is through; what came of each."""
    while attempt(callback) is State.PENDING:
        assert callback.attempts < 10
    assert attempt(callback) is None
    return [made.http_status or made.error_code for made in callback.history.all()]


@pytest.mark.parametrize(
    ("behaviour", "answers", "state"),
    [
        (answering(500), [500] * 3, State.UNDELIVERABLE),
        (answering(204), [204], State.DELIVERED),
        (answering(302, Location="/elsewhere"), [302] * 3, State.UNDELIVERABLE),
        (answering(410), [410], State.UNDELIVERABLE),
        (answering(429, Retry_After="1"), [429] * 3, State.UNDELIVERABLE),
        (silent, ["timeout"] * 3, State.UNDELIVERABLE),
        (a_byte_a_second, ["timeout"] * 3, State.UNDELIVERABLE),
    ],
    ids=["500", "204", "302", "410", "429", "nothing", "a byte a second"],
)
def test_each_behaviour_ends_as_the_schedule_says(
    receiver, due, settings, behaviour, answers, state
):
    settings.CALLBACK_DELAYS = [0.0, 0.0]
    settings.CALLBACK_SECONDS = 0.5
    receiver.always(behaviour)

    assert to_the_end(due) == answers

    assert due.state == state
    assert due.ended_at is not None
    assert receiver.ids() == [str(due.public_id)] * len(answers)
    assert due.task.status == "completed"


def test_a_receiver_that_is_down_beyond_the_schedule_is_given_up(settings):
    settings.CALLBACK_DELAYS = [0.0, 0.0]
    callback = callback_to(unused_address())

    assert to_the_end(callback) == ["connection_failed"] * 3

    assert callback.state == State.UNDELIVERABLE


def test_a_receiver_that_is_back_in_time_gets_the_event(settings):
    settings.CALLBACK_DELAYS = [0.0, 0.0]
    with running_receiver() as receiver:
        callback = callback_to(receiver.url)
        port = receiver.port
    assert attempt(callback) is State.PENDING
    assert attempt(callback) is State.PENDING

    with running_receiver(port=port) as receiver:
        assert attempt(callback) is State.DELIVERED

        assert receiver.ids() == [str(callback.public_id)]


def test_a_blocked_address_is_asked_once(due, monkeypatch):
    def refuse(*_: Any, **__: Any) -> Any:
        raise PostError("blocked_address")

    monkeypatch.setattr(delivery, "post", refuse)

    assert to_the_end(due) == ["blocked_address"]

    assert due.state == State.UNDELIVERABLE


# --- At least once, under one id -----------------------------------------------------


def test_a_callback_that_fails_arrives_in_the_end(receiver, due, settings):
    settings.CALLBACK_DELAYS = [0.0, 0.0, 0.0]
    receiver.then(answering(500), hanging_up, answering(429))

    states = [attempt(due) for _ in range(4)]

    assert states == [State.PENDING] * 3 + [State.DELIVERED]
    assert receiver.ids() == [str(due.public_id)] * 4
    assert [
        (made.number, made.http_status, made.error_code) for made in due.history.all()
    ] == [
        (1, 500, ""),
        (2, None, "connection_failed"),
        (3, 429, ""),
        (4, 204, ""),
    ]
    assert due.task.status == "completed"
    assert attempt(due) is None


def test_a_deliverer_that_dies_before_it_writes_sends_the_same_event_again(
    receiver, due, monkeypatch
):
    def die(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(callbacks, "settle", die)
        with pytest.raises(SystemExit):
            attempt(due)
    Callback.objects.update(lease_expires_at=Now() - timedelta(seconds=1))

    Dispatcher().tick()
    assert attempt(due) is State.DELIVERED

    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_a_task_deleted_before_its_callback_is_read_sends_nothing(
    receiver, due, monkeypatch
):
    claim = callbacks.claim

    def claim_and_delete(callback_id: int, *, owner: str) -> Any:
        claimed = claim(callback_id, owner=owner)
        TranscriptionTask.objects.all().delete()
        return claimed

    monkeypatch.setattr(callbacks, "claim", claim_and_delete)

    assert deliver(due.pk, owner="w") is None
    assert receiver.received == []


def test_an_event_that_is_withdrawn_before_it_is_sent_stays_here(
    receiver, due, monkeypatch
):
    def withdraw(callback: Callback) -> bytes:
        body = event_body(callback)
        Callback.objects.all().delete()
        heartbeat.beat()
        return body

    monkeypatch.setattr(delivery, "event_body", withdraw)

    assert deliver(due.pk, owner="w") is None
    assert receiver.received == []


def test_an_attempt_that_takes_long_keeps_its_lease(due, monkeypatch):
    """A look-up of a name ends when it ends."""

    def send(*_: Any) -> callbacks.Reply:
        Callback.objects.update(lease_expires_at=Now())
        heartbeat.beat()
        Dispatcher().tick()
        return callbacks.Reply(60.0, http_status=204)

    monkeypatch.setattr(delivery, "send", send)

    assert attempt(due) is State.DELIVERED
    assert due.attempts == 1


def test_a_task_deleted_while_its_event_is_sent_is_no_error(due, monkeypatch):
    def send(*_: Any) -> callbacks.Reply:
        TranscriptionTask.objects.all().delete()
        return callbacks.Reply(0.1, http_status=204)

    monkeypatch.setattr(delivery, "send", send)

    assert deliver(due.pk, owner="w") is None


def test_the_log_holds_neither_address_nor_secret(receiver, due, caplog):
    """urllib3 tells of each request, and of headers that it does not understand."""
    caplog.set_level("DEBUG")
    receiver.always(
        lambda connection, closed: connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n no header: 1\r\n\r\n"
        )
    )

    Callback.objects.update(headers={"Authorization": "Bearer do-not-tell"})

    attempt(due)

    assert str(due.public_id) in caplog.text
    (row,) = callback_secrets.secrets_of(due.owner_id)
    for secret in ("hook", "do-not-tell", row.secret[6:]):
        assert secret not in caplog.text
