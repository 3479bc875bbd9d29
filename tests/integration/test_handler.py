"""Which thread answers a request, and what it keeps for the next."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import signals
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils import translation

from tests.integration.databases import SERVERS_ONLY
from tests.support.waiting import patient
from whisperhub.web.handler import CONNECTION_SECONDS, Handler
from whisperhub.web.request_id import HEADER, current_request_id

HOST = (b"host", b"localhost")
FORM = (b"content-type", b"application/x-www-form-urlencoded")


def in_thread(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"thread": threading.current_thread().name})


async def in_loop(request: HttpRequest) -> JsonResponse:
    asyncio.get_running_loop()
    return JsonResponse({"thread": threading.current_thread().name})


def driver(request: HttpRequest) -> JsonResponse:
    """The connection to the database that it is answered with."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"connection": id(connection.connection)})


def break_connection(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    # As a server that restarts does, without Django's knowledge.
    driver: Any = connection.connection
    descriptor = getattr(driver, "_sock", driver).fileno()
    with socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)
    return HttpResponse()


def language(request: HttpRequest) -> JsonResponse:
    before = translation.get_language()
    translation.activate("zh-hans")
    return JsonResponse({"language": before})


def echo(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(request.body, status=201, headers={"X-Word": "näher"})
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    return response


def streams(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> Any:
        yield b"first "
        yield b"last"

    return StreamingHttpResponse(parts())


def fails(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("no")


class Gate:
    """A view that stays until a test lets it go."""

    entered = threading.Event()
    opened = threading.Event()


def waits(request: HttpRequest) -> HttpResponse:
    Gate.entered.set()
    assert Gate.opened.wait(patient(20))
    return HttpResponse()


urlpatterns = [
    path("thread", in_thread),
    path("loop", in_loop),
    path("driver", driver),
    path("break", break_connection),
    path("language", language),
    path("echo", echo),
    path("streams", streams),
    path("fails", fails),
    path("waits", waits),
]


@pytest.fixture
def handler(settings: Any) -> Iterator[Handler]:
    """With one thread, so that what one request leaves meets the next."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["whisperhub.web.request_id.RequestIdMiddleware"]
    Gate.entered.clear()
    Gate.opened.clear()
    made = Handler(threads=1)
    yield made
    Gate.opened.set()
    # The thread's own connection, before the test database goes.
    in_its_thread(made, lambda: connection.close())
    made._threads.shutdown()


def in_its_thread(handler: Handler, function: Callable[[], Any]) -> Any:
    return handler._threads.submit(function).result(20)


class Answered:
    """One answer, as a server would send it."""

    def __init__(self, sent: list[Any]) -> None:
        self.messages = sent
        self.status = sent[0]["status"]
        self.headers = sent[0]["headers"]
        self.body = b"".join(message.get("body", b"") for message in sent[1:])


async def send_to(
    handler: Handler, address: str, *chunks: bytes, headers: Any = ()
) -> Answered:
    messages = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks or [b""], 1)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        # A client that waits for its answer.
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST" if chunks else "GET",
        "path": address,
        "query_string": b"",
        "headers": [HOST, *headers],
    }
    await asyncio.wait_for(handler(scope, receive, send), 20)
    return Answered(sent)


def ask(handler: Handler, address: str, *chunks: bytes, **more: Any) -> Answered:
    return asyncio.run(send_to(handler, address, *chunks, **more))


def test_a_sync_view_is_answered_in_a_thread_that_stays(handler):
    first, second = ask(handler, "/thread"), ask(handler, "/thread")

    assert first.body == second.body == b'{"thread": "web_0"}'


KEY = (b"authorization", b"Bearer whk_any")
SESSION = (b"cookie", b"lang=en; sessionid=any")


@pytest.fixture
def crowded(handler: Handler) -> Iterator[Handler]:
    """With one more thread, for strangers."""
    made = Handler(threads=1, strangers=1)
    yield made
    Gate.opened.set()
    made._threads.shutdown()
    made._strangers.shutdown()


@pytest.mark.parametrize("header", [KEY, SESSION])
def test_strangers_who_wait_hold_up_nobody_with_a_key_or_session(crowded, header):
    async def conversation() -> list[Answered]:
        held = asyncio.create_task(send_to(crowded, "/waits"))
        waiting = [asyncio.create_task(send_to(crowded, "/thread")) for _ in range(9)]
        await asyncio.to_thread(Gate.entered.wait, 20)
        answer = await send_to(crowded, "/thread", headers=[header])
        assert not held.done()
        Gate.opened.set()
        await held
        return [answer, *await asyncio.gather(*waiting)]

    mine, *theirs = asyncio.run(conversation())

    assert mine.body == b'{"thread": "web_0"}'
    assert {answer.body for answer in theirs} == {b'{"thread": "stranger_0"}'}


def test_in_open_mode_nobody_is_a_stranger(crowded, settings):
    settings.OPEN_MODE = True

    assert ask(crowded, "/thread").body == b'{"thread": "web_0"}'


def test_an_async_view_is_answered_in_the_event_loop(handler):
    assert ask(handler, "/loop").body == b'{"thread": "MainThread"}'


@pytest.mark.django_db(transaction=True)
def test_requests_share_a_connection(handler):
    assert ask(handler, "/driver").body == ask(handler, "/driver").body


@pytest.mark.django_db(transaction=True)
@SERVERS_ONLY
def test_a_connection_that_broke_is_replaced(handler):
    ask(handler, "/break")

    assert ask(handler, "/driver").status == 200


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_has_become_old_is_replaced(handler):
    def grow_old() -> None:
        connection.close_at = 0.0

    ask(handler, "/driver")
    in_its_thread(handler, grow_old)

    ask(handler, "/driver")

    left = in_its_thread(handler, lambda: connection.close_at) - time.monotonic()
    assert CONNECTION_SECONDS - 20 < left <= CONNECTION_SECONDS


def test_what_a_request_sets_is_gone_with_it(handler):
    answers = [ask(handler, "/language") for _ in range(2)]

    assert [answer.body for answer in answers] == [b'{"language": "en"}'] * 2
    assert current_request_id.get() == ""


def test_a_request_has_its_id(handler):
    answer = ask(handler, "/thread", headers=[(HEADER.lower().encode(), b"mine")])

    assert (HEADER.encode(), b"mine") in answer.headers


def test_body_status_headers_and_cookies_arrive(handler):
    answer = ask(handler, "/echo", b"some ", b"words")

    assert (answer.status, answer.body) == (201, b"some words")
    assert (b"X-Word", "näher".encode("latin-1")) in answer.headers
    cookies = [value for name, value in answer.headers if name == b"Set-Cookie"]
    assert cookies == [b"one=1; Path=/", b"two=2; Path=/"]


def test_a_response_streams(handler):
    answer = ask(handler, "/streams")

    assert answer.body == b"first last"
    assert len(answer.messages) == 4


@pytest.mark.parametrize("address", ["/thread", "/streams", "/loop"])
def test_a_request_ends_once(handler, address):
    ended: list[Any] = []
    signals.request_finished.connect(note := lambda **_: ended.append(1))

    ask(handler, address)

    signals.request_finished.disconnect(note)
    assert ended == [1]


def test_a_view_that_fails_is_answered(handler):
    answer = ask(handler, "/fails")

    assert answer.status == 500
    assert b"Server Error" in answer.body


def test_nothing_runs_for_a_client_that_went_away(handler):
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/waits", "headers": []}
    asyncio.run(handler(scope, receive, send))

    assert not Gate.entered.is_set()
