"""The guard in front of Django: what it refuses, and how early."""

from __future__ import annotations

import asyncio
import json
from collections import namedtuple
from typing import Any

import pytest
from django.core.asgi import get_asgi_application

from tests.problems import check_problem
from whisperhub import uploads
from whisperhub.uploads import FORM_OVERHEAD_BYTES, UploadGuard, readable

MAX_BYTES = 10_000
LIMIT = MAX_BYTES + FORM_OVERHEAD_BYTES
Usage = namedtuple("Usage", "total used free")


class Exchange:
    """One request through the guard: what came and went, in order.

    Attributes:
        events: "receive" and the types of the messages sent.
        passed: bytes that the application behind the guard received; None: not called.
    """

    def __init__(self, *chunks: bytes, headers: dict[str, str] | None = None) -> None:
        self.chunks = list(chunks)
        self.headers = headers or {}
        self.events: list[str] = []
        self.sent: list[Any] = []
        self.passed: int | None = None

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> Any:
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))

    @property
    def answer_headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    async def receive(self) -> Any:
        self.events.append("receive")
        if self.chunks:
            body = self.chunks.pop(0)
            return {
                "type": "http.request",
                "body": body,
                "more_body": bool(self.chunks),
            }
        # A client that says no more.
        await asyncio.Event().wait()
        return None

    async def send(self, message: Any) -> None:
        self.events.append(message["type"])
        self.sent.append(message)

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed = 0
        more = scope["type"] == "http"
        while more:
            message = await receive()
            self.passed += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'"passed"'})

    def through(self, application: Any, folder: Any, kind: str = "http") -> Exchange:
        guard = UploadGuard(
            application,
            max_bytes=MAX_BYTES,
            min_free_bytes=1_000_000,
            folder=folder,
        )
        scope = {
            "type": kind,
            "method": "POST",
            "path": "/healthz",
            "query_string": b"",
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in self.headers.items()
            ],
        }
        asyncio.run(asyncio.wait_for(guard(scope, self.receive, self.send), 20))
        return self

    def run(self, folder: Any, kind: str = "http") -> Exchange:
        return self.through(self.application, folder, kind)


@pytest.fixture
def full_disk(monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1, 1, 1_000_000))


def of_length(length: int, *chunks: bytes, **headers: str) -> Exchange:
    return Exchange(*chunks, headers={"Content-Length": str(length), **headers})


def test_a_body_within_the_limit_passes(tmp_path):
    exchange = of_length(6, b"abc", b"def").run(tmp_path)

    assert exchange.status == 200
    assert exchange.passed == 6


def test_a_body_of_exactly_the_limit_passes(tmp_path):
    exchange = of_length(LIMIT, b"x" * LIMIT).run(tmp_path)

    assert exchange.status == 200
    assert exchange.passed == LIMIT


def test_too_long_a_body_is_refused_before_it_is_read(tmp_path):
    exchange = of_length(LIMIT + 1, b"x").run(tmp_path)

    assert exchange.status == 413
    assert exchange.passed is None
    assert exchange.events.index("http.response.body") < exchange.events.index(
        "receive"
    )
    check_problem(exchange.body, 413, "file_too_large")
    assert "9.8 KiB" in exchange.body["detail"]


@pytest.mark.parametrize(
    ("headers", "language", "title", "detail"),
    [
        ({}, "en", None, "The file is larger than the 9.8 KiB this server takes."),
        (
            {"Accept-Language": "zh-CN,zh;q=0.9"},
            "zh-hans",
            "过大",
            "文件超出服务器允许的大小 9.8 KiB。",
        ),
    ],
    ids=["en", "zh-hans"],
)
def test_a_refusal_is_in_the_clients_language(
    headers, language, title, detail, tmp_path
):
    exchange = of_length(LIMIT + 1, b"x", **headers).run(tmp_path)

    assert exchange.body["detail"] == detail
    assert exchange.body["code"] == "file_too_large"
    assert title is None or title in exchange.body["title"]
    assert exchange.answer_headers[b"content-language"] == language.encode()
    assert b"Accept-Language" in exchange.answer_headers[b"vary"]


def test_a_refusal_closes_the_connection(tmp_path):
    exchange = of_length(LIMIT + 1, b"x").run(tmp_path)

    headers = exchange.answer_headers
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert int(headers[b"content-length"]) == len(json.dumps(exchange.body))


def test_a_refusal_carries_the_request_id(tmp_path):
    headers = {"X-Request-ID": "mine"}
    exchange = of_length(LIMIT + 1, b"x", **headers).run(tmp_path)

    assert exchange.answer_headers[b"x-request-id"] == b"mine"
    assert exchange.body["request_id"] == "mine"


def test_the_rest_of_a_refused_body_is_read_and_dropped(tmp_path):
    exchange = of_length(LIMIT + 1, b"x", b"y", b"z").run(tmp_path)

    assert exchange.events.count("receive") == 3
    assert exchange.events[-1] == "http.response.body"
    assert not exchange.sent[-1].get("more_body")


def test_a_client_that_waits_for_100_continue_is_not_asked_for_its_body(tmp_path):
    exchange = of_length(LIMIT + 1, Expect="100-continue").run(tmp_path)

    assert exchange.status == 413
    assert "receive" not in exchange.events


def test_a_client_that_falls_silent_does_not_hold_the_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "LINGER_SECONDS", 0.05)

    exchange = of_length(LIMIT + 1).run(tmp_path)

    assert exchange.status == 413
    assert not exchange.sent[-1].get("more_body")


def test_an_unannounced_body_is_cut_at_the_limit(tmp_path):
    chunks = [b"x" * (LIMIT // 2)] * 6

    exchange = Exchange(*chunks).run(tmp_path)

    assert exchange.status == 413
    assert exchange.passed == LIMIT // 2 * 2
    check_problem(exchange.body, 413, "file_too_large")


def test_django_behind_the_guard_answers_413_to_an_unannounced_body(tmp_path, settings):
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    chunks = [b"x" * (LIMIT // 2)] * 4

    exchange = Exchange(*chunks).through(get_asgi_application(), tmp_path)

    assert exchange.status == 413
    assert not list(tmp_path.iterdir())


def test_an_answer_that_has_begun_is_not_replaced(tmp_path):
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"1"})

    exchange = Exchange(b"x" * LIMIT, b"x").through(hasty, tmp_path)

    assert exchange.status == 200
    assert exchange.body == 1


def test_an_upload_that_the_disk_cannot_take_is_refused(tmp_path, full_disk):
    length = FORM_OVERHEAD_BYTES + 1

    exchange = of_length(length, b"x" * length).run(tmp_path)

    assert exchange.status == 507
    assert exchange.passed is None
    check_problem(exchange.body, 507, "storage_full")


def test_a_small_request_passes_on_a_full_disk(tmp_path, full_disk):
    exchange = of_length(3, b"abc").run(tmp_path)

    assert exchange.status == 200


def test_a_request_without_a_body_passes_on_a_full_disk(tmp_path, full_disk):
    exchange = Exchange(b"").run(tmp_path)

    assert exchange.status == 200


def test_other_connections_are_none_of_its_business(tmp_path):
    exchange = Exchange().run(tmp_path, kind="websocket")

    assert exchange.passed == 0


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (2**31, "2 GiB"),
        (2**40, "1 TiB"),
    ],
)
def test_sizes_for_people(number, text):
    assert readable(number) == text
