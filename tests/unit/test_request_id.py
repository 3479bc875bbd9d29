"""Which ids of clients are taken, and that every answer carries one."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from tests.support.problems import check_problem
from whisperhub.web.request_id import (
    RequestIdLayer,
    RequestIdMiddleware,
    current_request_id,
    request_id_from,
)

OURS = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("given_id", ["a", "A-b_c.9", "x" * 64])
def test_a_plain_id_is_kept(given_id):
    assert request_id_from(given_id) == given_id


@pytest.mark.parametrize(
    "given_id", [None, "", "x" * 65, "a b", "a\n", "é", "<script>", "a/b", "a;b"]
)
def test_any_other_is_replaced(given_id):
    assert OURS.fullmatch(request_id_from(given_id))


@given(st.text())
def test_no_id_can_break_a_header_or_a_log_line(given_id):
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", request_id_from(given_id))


def test_ids_of_ours_differ():
    assert request_id_from(None) != request_id_from(None)


def test_a_sync_view_sees_the_id_and_the_answer_carries_it():
    seen = []

    def view(request):
        seen.append(current_request_id.get())
        return HttpResponse()

    request = RequestFactory().get("/", headers={"X-Request-ID": "mine"})
    response: Any = RequestIdMiddleware(view)(request)

    assert seen == ["mine"]
    assert response.headers["X-Request-ID"] == "mine"


def test_an_async_view_sees_the_id_and_the_answer_carries_it():
    seen = []

    async def view(request):
        seen.append(current_request_id.get())
        return HttpResponse()

    async def ask():
        request = AsyncRequestFactory().get("/", headers={"X-Request-ID": "mine"})
        middleware: Any = RequestIdMiddleware(view)
        return await middleware(request)

    response = asyncio.run(ask())

    assert seen == ["mine"]
    assert response.headers["X-Request-ID"] == "mine"


def test_a_request_never_sees_the_id_of_the_one_before():
    seen = []

    def view(request):
        seen.append(current_request_id.get())
        raise LookupError

    for name in ("first", "second"):
        request = RequestFactory().get("/", headers={"X-Request-ID": name})
        with pytest.raises(LookupError):
            RequestIdMiddleware(view)(request)

    assert seen == ["first", "second"]


def test_the_id_is_there_when_django_logs_the_answer(client):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(current_request_id.get())  # type: ignore[method-assign]
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    try:
        client.get("/api/v1/nothing-here", headers={"X-Request-ID": "mine"})
    finally:
        logger.removeHandler(handler)

    assert lines == ["mine"]


# --- Around everything ---------------------------------------------------------------


async def asked(application: Any, **scope: Any) -> list[Any]:
    """What an ASGI application answers to a request under the id `mine`."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    made = {
        "type": "http",
        "path": "/api/",
        "headers": [(b"x-request-id", b"mine"), (b"accept", b"*/*")],
        **scope,
    }
    await RequestIdLayer(application)(made, receive, send)
    return sent


def test_the_layer_gives_every_answer_the_id_and_only_once():
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append((current_request_id.get(), dict(scope["headers"])))
        headers = [(b"X-Request-ID", b"another"), (b"a", b"b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    start, _ = asyncio.run(asked(application))

    assert seen == [("mine", {b"x-request-id": b"mine", b"accept": b"*/*"})]
    assert start["headers"] == [(b"a", b"b"), (b"x-request-id", b"mine")]


def test_an_error_that_nobody_caught_is_a_problem_and_is_logged(caplog):
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a secret detail")

    start, body = asyncio.run(asked(application))

    assert start["status"] == 500
    assert (b"x-request-id", b"mine") in start["headers"]
    problem = json.loads(body["body"])
    check_problem(problem, 500, "internal_error")
    assert problem["request_id"] == "mine"
    assert "a secret detail" in caplog.text


def test_an_error_in_the_middle_of_an_answer_goes_to_the_server():
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        asyncio.run(asked(application))


def test_other_protocols_pass_through_the_layer():
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(asked(application, type="lifespan"))

    assert seen == ["lifespan"]
