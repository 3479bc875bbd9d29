"""Clients that hold a connection, and what may stand in a request: over sockets.

The web process runs as operators run it, with small limits.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from django.utils import timezone

from accounts.models import ApiKey, User
from tests.support.problems import check_problem
from tests.support.raw_http import RawAnswer, exchange, read_answer, request_bytes
from tests.support.web import running_web
from whisperhub.web.protocol import (
    MAX_ADDRESS_BYTES,
    MAX_HEADER_BYTES,
    MAX_PIPELINED_BYTES,
)

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

SECONDS = 20.0
MAX_CONNECTIONS = 8
# What a page of the documentation loads: more than lies between two programs.
LARGE_FILE = "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
HEALTH = request_bytes("GET /healthz HTTP/1.1")
TASKS = "POST /api/v1/tasks/ HTTP/1.1"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


class Web(NamedTuple):
    """A running web process, a key to it, and what it says."""

    address: str
    key: str
    log: Path

    @property
    def authorization(self) -> str:
        return f"Authorization: Bearer {self.key}"

    @contextmanager
    def connected(self, *, receive_bytes: int | None = None) -> Iterator[socket.socket]:
        parts = urlsplit(self.address)
        with socket.socket() as line:
            if receive_bytes:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            line.settimeout(SECONDS)
            line.connect((parts.hostname, parts.port))
            yield line

    def ask(self, *requests: bytes) -> list[RawAnswer]:
        """Send requests at once, and read the answers until the server hangs up."""
        with self.connected() as line:
            line.sendall(b"".join(requests))
            reader = line.makefile("rb")
            answers = []
            while (answer := read_answer(reader)) is not None:
                answers.append(answer)
        return answers


@pytest.fixture(scope="module")
def web(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: Any
) -> Iterator[Web]:
    folder: Path = tmp_path_factory.mktemp("connections")
    limits = {
        "ANSWER_SECONDS": "0.3",
        "BODY_SECONDS": "0.4",
        "MAX_CONNECTIONS": str(MAX_CONNECTIONS),
    }
    variables = {f"WHISPERHUB_{name}": value for name, value in limits.items()}
    log = folder / "web.log"
    with django_db_blocker.unblock(), closing(connection):
        owner = User.objects.create(username="on-a-connection")
        key, secret = ApiKey.issue(owner, "test")
        # A use is noted once a minute at most, and on SQLite it would wait for the
        # transaction that each test holds.
        key.last_used_at = timezone.now() + timedelta(days=1)
        key.save()
        with running_web(folder, variables=variables, log=log) as address:
            yield Web(address, secret, log)
        owner.delete()


# --- Answers that are not read -------------------------------------------------------


def test_who_reads_nothing_of_an_answer_is_cut_off(web):
    with web.connected(receive_bytes=4096) as line:
        line.sendall(request_bytes(f"GET /static/{LARGE_FILE} HTTP/1.1"))

        closed = select.poll()
        closed.register(line, select.POLLHUP | select.POLLERR)
        assert closed.poll(SECONDS * 1000)


def test_who_reads_slowly_gets_the_whole_answer(web):
    path = finders.find(LARGE_FILE)
    with web.connected(receive_bytes=4096) as line:
        line.sendall(
            request_bytes(f"GET /static/{LARGE_FILE} HTTP/1.1", "Connection: close")
        )

        answer = read_answer(line.makefile("rb", buffering=4096))

    assert path is not None
    assert answer is not None
    assert answer.body == Path(path).read_bytes()


def test_a_range_of_a_file_is_answered_with_the_file(web):
    answer = exchange(
        web.address,
        request_bytes(f"GET /static/{LARGE_FILE} HTTP/1.1", "Range: bytes=1-9"),
    )

    assert answer.status == 200


# --- Requests behind each other ------------------------------------------------------


def test_requests_that_come_at_once_are_answered_in_order(web):
    requests = [
        request_bytes("GET /healthz HTTP/1.1"),
        request_bytes(TASKS, JSON, body=b"{}"),
        b"\r\n",
        request_bytes("GET /nothing HTTP/1.1", "Connection: close"),
    ]

    answers = web.ask(*requests)

    assert [answer.status for answer in answers] == [200, 401, 404]


def test_a_request_that_comes_in_bytes_is_read(web):
    request = request_bytes(TASKS, JSON, "Connection: close", body=b"{}")
    with web.connected() as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in HEALTH + request:
            line.sendall(bytes([byte]))
        reader = line.makefile("rb")

        answers = [read_answer(reader), read_answer(reader)]

    assert [answer and answer.status for answer in answers] == [200, 401]


def test_no_more_wait_behind_a_request_than_a_few(web):
    many = HEALTH * (2 * MAX_PIPELINED_BYTES // len(HEALTH))

    answers = web.ask(HEALTH, many)

    assert [answer.status for answer in answers] == [200]
    assert answers[0].headers["connection"] == "close"


def test_connections_that_break_while_answers_wait_leave_no_traceback(web):
    for _ in range(5):
        with web.connected() as line:
            line.sendall(request_bytes("GET /api/v1/tasks/ HTTP/1.1") * 20)
            line.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )

    # After this one, in the order of its threads.
    for _ in range(4):
        assert exchange(web.address, HEALTH).status == 200
    assert "Traceback" not in web.log.read_text()
    assert "Exception" not in web.log.read_text()


# --- Too many ------------------------------------------------------------------------


def test_the_connection_that_is_idle_longest_makes_room(web):
    with ExitStack() as lines:
        first, *others = [
            lines.enter_context(web.connected()) for _ in range(MAX_CONNECTIONS)
        ]
        # In this order, although the first was connected first.
        for line in (*others, first):
            line.sendall(HEALTH)
            assert read_answer(line.makefile("rb")) is not None

        newest = lines.enter_context(web.connected())
        newest.sendall(HEALTH)

        assert read_answer(newest.makefile("rb")) is not None
        assert others[0].recv(1) == b""
        first.sendall(HEALTH)
        assert read_answer(first.makefile("rb")) is not None


# --- Who may send a body -------------------------------------------------------------


@pytest.mark.parametrize("length", [1000, 1_000_000, None], ids=str)
@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        pytest.param(TASKS, 401, "not_authenticated", id="no key"),
        pytest.param(
            "POST /api/v1/detect-language/ HTTP/1.1",
            401,
            "not_authenticated",
            id="no key, waiting",
        ),
        pytest.param(
            "POST /api/v1/nothing/ HTTP/1.1", 404, "not_found", id="no such address"
        ),
        pytest.param(
            "PUT /api/v1/tasks/ HTTP/1.1", 401, "not_authenticated", id="no method"
        ),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "Content-Type: multipart/form-data"])
def test_a_stranger_is_refused_before_the_body(
    web, line, status, code, length, content_type
):
    # Asked for the body, the client would have to send it.
    told = CHUNKED if length is None else f"Content-Length: {length}"
    request = request_bytes(line, content_type, told, "Expect: 100-continue")

    answer = exchange(web.address, request)

    check_problem(answer.json(), status, code)
    assert answer.status == status
    assert answer.headers["connection"] == "close"


def test_a_stranger_who_drips_a_body_is_refused_before_its_end(web):
    head = request_bytes(TASKS, JSON, "Content-Length: 1000000")

    answer = exchange(web.address, head + b"x" * 1000)

    check_problem(answer.json(), 401, "not_authenticated")


def test_the_form_to_sign_in_is_short(web):
    answer = exchange(
        web.address,
        request_bytes(
            "POST /login/ HTTP/1.1",
            "Content-Type: application/x-www-form-urlencoded",
            "Content-Length: 20000",
            "Expect: 100-continue",
        ),
    )

    check_problem(answer.json(), 413, "request_too_large")


def test_with_a_key_a_body_must_come_in_time(web):
    head = request_bytes(TASKS, web.authorization, JSON, "Content-Length: 1000000")

    answer = exchange(web.address, head + b"x" * 1000)

    check_problem(answer.json(), 408, "request_timeout")


# --- What may stand in a request -----------------------------------------------------


def in_chunks(body: bytes, trailers: bytes = b"") -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailers)


def test_trailers_are_no_headers(web):
    trailers = f"{web.authorization}\r\n{JSON}\r\n".encode()

    answer = exchange(
        web.address, request_bytes(TASKS, CHUNKED) + in_chunks(b"{}", trailers)
    )

    check_problem(answer.json(), 401, "not_authenticated")


def test_trailers_do_not_reach_the_next_request(web):
    trailers = f"{web.authorization}\r\n".encode()
    with web.connected() as line:
        reader = line.makefile("rb")
        line.sendall(request_bytes(TASKS, CHUNKED) + in_chunks(b"{}", trailers))
        first = read_answer(reader)
        line.sendall(request_bytes("GET /api/v1/tasks/ HTTP/1.1"))
        second = read_answer(reader)

    assert [answer and answer.status for answer in (first, second)] == [401, 401]


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"0\r\nA: ", id="trailer"),
        pytest.param(b"1;a=", id="extension"),
    ],
)
def test_what_does_not_end_behind_a_body_is_refused(web, endless):
    request = request_bytes(TASKS, web.authorization, CHUNKED) + endless

    answer = exchange(
        web.address, request + b"a" * 2 * (MAX_ADDRESS_BYTES + MAX_HEADER_BYTES)
    )

    check_problem(answer.json(), 431, "headers_too_large")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["Authorization: Bearer a"], id="two keys"),
        pytest.param(["Host: localhost", "Host: localhost"], id="two hosts"),
        pytest.param([JSON, "Content-Type: text/plain"], id="two types"),
        pytest.param(["Content-Length: 1", "Content-Length: 1"], id="two lengths"),
        pytest.param(["Content-Length: 1", CHUNKED], id="length and chunks"),
        pytest.param(["Transfer-Encoding: gzip, chunked"], id="another coding"),
        pytest.param(["X-A: b\r\n c"], id="folded"),
        pytest.param(["Host : localhost"], id="blank"),
    ],
)
def test_an_ambiguous_head_is_refused(web, headers):
    answer = exchange(
        web.address, request_bytes(TASKS, web.authorization, *headers) + b"x"
    )

    check_problem(answer.json(), 400, "bad_http")


@pytest.mark.parametrize(
    "line", ["CONNECT example.org:443 HTTP/1.1", "CONNECT / HTTP/1.1"]
)
def test_this_is_no_proxy(web, line):
    check_problem(exchange(web.address, request_bytes(line)).json(), 400, "bad_http")


def test_chunks_are_of_http_1_1(web):
    request = request_bytes("POST /healthz HTTP/1.0", CHUNKED) + in_chunks(b"a")

    check_problem(exchange(web.address, request).json(), 400, "bad_http")


@pytest.mark.parametrize("name", ["Authorization_", "X_Forwarded_For"])
def test_a_header_with_an_underscore_is_no_other(web, name):
    answer = exchange(
        web.address,
        request_bytes(
            "GET /api/v1/tasks/ HTTP/1.1", web.authorization, f"{name}: Bearer a"
        ),
    )

    assert answer.status == 200


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_the_offer_of_another_protocol_is_passed_over(web, protocol):
    """Java's client offers HTTP/2 with each request, also with a body."""
    request = request_bytes(
        TASKS,
        web.authorization,
        JSON,
        "Connection: Upgrade, HTTP2-Settings",
        f"Upgrade: {protocol}",
        body=b'{"no_such_field": 1}',
    )

    first, second = web.ask(
        request, request_bytes("GET /nothing HTTP/1.1", "Connection: close")
    )

    assert "no_such_field" in first.json()["errors"]
    assert second.status == 404


def test_memory_of_requests_behind_a_body_in_chunks_is_bounded(web):
    request = request_bytes(TASKS, CHUNKED) + in_chunks(b"{}")

    answers = web.ask(request, HEALTH * 1000)

    assert [answer.status for answer in answers] == [401]


def test_empty_lines_in_front_of_a_request_are_passed_over(web):
    assert exchange(web.address, b"\r\n" * 100_000 + HEALTH).status == 200
