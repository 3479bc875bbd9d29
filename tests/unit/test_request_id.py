"""Which ids of clients are taken, and that every answer carries one."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from whisperhub.request_id import (
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
    assert current_request_id.get() == ""


def test_an_async_view_sees_the_id_and_the_answer_carries_it():
    seen = []

    async def view(request):
        seen.append(current_request_id.get())
        return HttpResponse()

    async def ask():
        request = AsyncRequestFactory().get("/", headers={"X-Request-ID": "mine"})
        middleware: Any = RequestIdMiddleware(view)
        response = await middleware(request)
        return response, current_request_id.get()

    response, left = asyncio.run(ask())

    assert seen == ["mine"]
    assert response.headers["X-Request-ID"] == "mine"
    assert left == ""


def test_the_id_is_forgotten_when_the_view_raises():
    def view(request):
        raise LookupError

    with pytest.raises(LookupError):
        RequestIdMiddleware(view)(RequestFactory().get("/"))

    assert current_request_id.get() == ""
