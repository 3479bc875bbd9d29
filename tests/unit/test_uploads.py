"""The guard in front of Django: what it refuses, how early, and what it hands on."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.problems import check_problem
from whisperhub.web import forms, uploads
from whisperhub.web.forms import SCOPE_KEY, Form, RefusedError
from whisperhub.web.handler import Verdict
from whisperhub.web.uploads import (
    ANONYMOUS_BYTES,
    SMALL_FORM_BYTES,
    BodyLimits,
    UploadGuard,
    readable,
)

MAX_FILE_BYTES = 3 * SMALL_FORM_BYTES
MAX_REQUEST_BYTES = 10_000
MAX_FORM_BYTES = MAX_FILE_BYTES + MAX_REQUEST_BYTES
FORM_TYPE = "multipart/form-data; boundary=limit"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def incoming(tmp_path: Path, settings: Any) -> Path:
    """Where the files of forms grow."""
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def short_linger(monkeypatch) -> None:
    """A refusal does not wait long for a client that has no more to say."""
    monkeypatch.setattr(uploads, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(uploads, "MOMENT_SECONDS", 0.05)


class Exchange:
    """One request through the guard: what came and went, in order.

    Attributes:
        events: "receive" and the types of the messages sent.
        passed: the body that the application behind the guard received; None: not
            called.
        form: the form that it found.
        headers_passed: those that it found.
        takes_file: whether the operation may have a file.
        is_invited: whether the application would let the request in.
        is_known: whether it knows who sends it.
        comes_later: whether the body does not come with the head.
    """

    def __init__(self, *chunks: bytes, headers: dict[str, str] | None = None) -> None:
        self.chunks = list(chunks)
        self.headers = headers or {}
        self.silence_seconds = 5.0
        self.leaves = False
        self.takes_file = True
        self.is_invited = True
        self.is_known = True
        self.comes_later = False
        self.memory_bytes = 10**6
        self.max_file_bytes: int | None = MAX_FILE_BYTES
        self.body_seconds = 60.0
        self.events: list[str] = []
        self.sent: list[Any] = []
        self.passed: bytes | None = None
        self.form: Form | None = None
        self.headers_passed: dict[bytes, bytes] = {}

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> Any:
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))

    @property
    def file(self) -> Any:
        assert self.form is not None
        return self.form.files["file"]

    @property
    def answer_headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    async def receive(self) -> Any:
        self.events.append("receive")
        if self.comes_later:
            # As the event loop has it: what is awaited comes in a later turn.
            self.comes_later = False
            await asyncio.sleep(1)
        if self.chunks:
            body = self.chunks.pop(0)
            return {
                "type": "http.request",
                "body": body,
                "more_body": bool(self.chunks) or self.leaves,
            }
        if self.leaves:
            return {"type": "http.disconnect"}
        # A client that says no more.
        await asyncio.Event().wait()
        return None

    async def send(self, message: Any) -> None:
        self.events.append(message["type"])
        self.sent.append(message)

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        self.passed = message.get("body", b"")
        assert not message.get("more_body", False)
        self.form = scope.get(SCOPE_KEY)
        self.headers_passed = dict(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'"passed"'})

    async def preflight(self, scope: Any) -> Verdict:
        self.events.append("preflight")
        if self.is_invited:
            return Verdict(is_known=self.is_known)
        return Verdict(
            [
                {"type": "http.response.start", "status": 401, "headers": []},
                {"type": "http.response.body", "body": b'{"code": "invalid_api_key"}'},
            ]
        )

    def run(self, kind: str = "http") -> Exchange:
        guard = UploadGuard(
            self.application,
            takes_file=lambda scope: self.takes_file,
            preflight=self.preflight,
            limits=BodyLimits(
                max_file_bytes=self.max_file_bytes,
                max_request_bytes=MAX_REQUEST_BYTES,
                max_memory_bytes=self.memory_bytes,
                min_free_bytes=1_000_000,
                silence_seconds=self.silence_seconds,
                upload_seconds=60.0,
                body_seconds=self.body_seconds,
            ),
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


@pytest.fixture
def full_disk(monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1, 1, 1_000_000))


def of_length(length: int, *chunks: bytes, **headers: str) -> Exchange:
    return Exchange(*chunks, headers={"Content-Length": str(length), **headers})


def form_of(*parts: tuple[str, bytes], end: bytes = b"--limit--\r\n") -> bytes:
    """A form of parts: what stands in Content-Disposition, and the content."""
    return (
        b"".join(
            b"--limit\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
            % (disposition.encode(), content)
            for disposition, content in parts
        )
        + end
    )


def a_file(content: bytes, name: str = "talk.mp3") -> tuple[str, bytes]:
    return f'name="file"; filename="{name}"', content


def a_field(name: str, content: bytes) -> tuple[str, bytes]:
    return f'name="{name}"', content


def sent_form(body: bytes, *, chunk_bytes: int = 65_536, **headers: str) -> Exchange:
    """A form that comes in chunks, without its length."""
    chunks = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
    return Exchange(*chunks or [b""], headers={"Content-Type": FORM_TYPE, **headers})


def test_a_body_within_the_limit_passes_in_one_message():
    exchange = of_length(6, b"abc", b"def").run()

    assert exchange.status == 200
    assert exchange.passed == b"abcdef"


def test_a_body_of_exactly_the_limit_passes():
    exchange = of_length(MAX_REQUEST_BYTES, b"x" * MAX_REQUEST_BYTES).run()

    assert exchange.status == 200
    assert exchange.passed == b"x" * MAX_REQUEST_BYTES


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "audio/mpeg",
        "multipart/mixed; boundary=limit",
        "multipart/form-datas; boundary=limit",
        "",
    ],
)
@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunked"])
def test_what_is_no_form_may_not_be_large(content_type, announced, incoming):
    length = MAX_REQUEST_BYTES + 1
    headers = {"Content-Type": content_type} if content_type else {}
    if announced:
        headers["Content-Length"] = str(length)

    exchange = Exchange(b"x" * length, headers=headers).run()

    check_problem(exchange.body, 413, "request_too_large")
    assert exchange.passed is None
    assert not list(incoming.iterdir())


def test_too_long_a_body_is_refused_before_it_is_read():
    exchange = of_length(MAX_REQUEST_BYTES + 1, b"x").run()

    assert exchange.status == 413
    assert exchange.events.index("http.response.body") < exchange.events.index(
        "receive"
    )


def test_without_a_limit_a_form_of_any_length_is_taken_if_it_finds_room(full_disk):
    exchange = of_length(10 * MAX_FORM_BYTES, b"x", **{"Content-Type": FORM_TYPE})
    exchange.max_file_bytes = None
    large = of_length(2**40, b"x", **{"Content-Type": FORM_TYPE})
    large.max_file_bytes = None

    assert exchange.run().body["code"] == "storage_full"
    assert large.run().body["code"] == "storage_full"


def test_too_long_a_form_is_refused_before_it_is_read():
    exchange = of_length(
        MAX_FORM_BYTES + 1, b"x", **{"Content-Type": FORM_TYPE.upper()}
    ).run()

    check_problem(exchange.body, 413, "file_too_large")
    assert exchange.passed is None
    assert exchange.events.index("http.response.body") < exchange.events.index(
        "receive"
    )
    assert "3 MiB" in exchange.body["detail"]


@pytest.mark.parametrize(
    ("headers", "language", "title", "detail"),
    [
        ({}, "en", None, "The file is larger than the 3 MiB this server takes."),
        (
            {"Accept-Language": "zh-CN,zh;q=0.9"},
            "zh-hans",
            "过大",
            "文件超出服务器允许的大小 3 MiB。",
        ),
    ],
    ids=["en", "zh-hans"],
)
def test_a_refusal_is_in_the_clients_language(headers, language, title, detail):
    exchange = of_length(
        MAX_FORM_BYTES + 1, b"x", **{"Content-Type": FORM_TYPE}, **headers
    ).run()

    assert exchange.body["detail"] == detail
    assert exchange.body["code"] == "file_too_large"
    assert title is None or title in exchange.body["title"]
    assert exchange.answer_headers[b"content-language"] == language.encode()
    assert b"Accept-Language" in exchange.answer_headers[b"vary"]


@pytest.mark.parametrize("content_type", [FORM_TYPE, "application/json"])
@pytest.mark.parametrize(
    "length",
    [
        pytest.param(10, id="small"),
        pytest.param(MAX_REQUEST_BYTES, id="large"),
        pytest.param(None, id="unknown"),
    ],
)
def test_a_body_that_comes_later_is_read_if_the_request_is_let_in(
    content_type, length, incoming
):
    headers = {"Content-Type": content_type}
    if length is not None:
        headers["Content-Length"] = str(length)
    exchange = Exchange(b"x", b"y", headers=headers)
    exchange.comes_later, exchange.is_invited = True, False

    exchange.run()

    assert (exchange.status, exchange.body["code"]) == (401, "invalid_api_key")
    # One look, and the answer; what comes then is dropped.
    assert exchange.events[:3] == ["receive", "preflight", "http.response.start"]
    assert exchange.answer_headers[b"connection"] == b"close"
    assert exchange.passed is None
    assert not list(incoming.iterdir())


def test_a_body_is_read_to_its_end_once_the_request_is_let_in():
    form = form_of(('name="file"; filename="a.wav"', b"x" * SMALL_FORM_BYTES))
    exchange = of_length(len(form), form, **{"Content-Type": FORM_TYPE})
    exchange.comes_later = True

    exchange.run()

    assert exchange.status == 200
    # So long a one is not waited for before.
    assert exchange.events[:2] == ["preflight", "receive"]
    assert exchange.file.size == SMALL_FORM_BYTES
    assert exchange.form is not None
    exchange.form.discard()


def test_a_body_that_comes_with_its_head_costs_no_preflight():
    exchange = of_length(5, b"small").run()

    assert exchange.events[:2] == ["receive", "http.response.start"]
    assert exchange.passed == b"small"


def test_few_bodies_are_waited_for_at_a_time(monkeypatch):
    monkeypatch.setattr(uploads, "UNASKED_BYTES", 0)
    monkeypatch.setattr("tests.unit.test_uploads.MAX_REQUEST_BYTES", 2**20)
    large = forms.BodyMemory.UNCOUNTED_BYTES + 1
    exchange = of_length(2 * large, b"x" * large, b"y" * large)
    exchange.is_invited = False

    exchange.run()

    assert exchange.status == 401
    assert exchange.events[:2] == ["receive", "preflight"]


def test_a_small_body_is_waited_for_a_moment(monkeypatch):
    """Most clients send it in a packet of its own."""
    monkeypatch.setattr(uploads, "MOMENT_SECONDS", 20.0)
    exchange = of_length(5, b"small")
    receive = exchange.receive

    async def later() -> Any:
        await asyncio.sleep(0.01)
        return await receive()

    exchange.receive = later  # type: ignore[method-assign]

    exchange.run()

    assert "preflight" not in exchange.events
    assert exchange.passed == b"small"


def test_a_client_that_waits_for_100_continue_is_not_asked_before_it_is_let_in():
    exchange = of_length(5, b"small", Expect="100-continue")
    exchange.is_invited = False

    exchange.run()

    assert exchange.status == 401
    assert "receive" not in exchange.events


@pytest.mark.parametrize(
    ("chunks", "announced"),
    [
        pytest.param([], ANONYMOUS_BYTES + 1, id="length"),
        pytest.param([b"x" * ANONYMOUS_BYTES, b"y", b"z"], None, id="chunks"),
    ],
)
def test_a_stranger_may_send_a_little(chunks, announced, monkeypatch):
    monkeypatch.setattr("tests.unit.test_uploads.MAX_REQUEST_BYTES", 2**20)
    headers = {} if announced is None else {"Content-Length": str(announced)}
    exchange = Exchange(*chunks, headers=headers)
    exchange.comes_later, exchange.is_known = True, False

    exchange.run()

    check_problem(exchange.body, 413, "request_too_large")
    assert "16 KiB" in exchange.body["detail"]
    assert exchange.passed is None


def test_the_form_of_a_stranger_passes():
    """To sign in."""
    exchange = of_length(5, b"a=b&c", **{"Content-Type": "application/x-www-form"})
    exchange.comes_later, exchange.is_known = True, False

    assert exchange.run().passed == b"a=b&c"


@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunks"])
@pytest.mark.parametrize("as_form", [True, False], ids=["form", "body"])
def test_a_body_that_finds_no_memory_is_refused(
    announced, as_form, monkeypatch, incoming
):
    monkeypatch.setattr("tests.unit.test_uploads.MAX_REQUEST_BYTES", 2**20)
    content = b"x" * (forms.BodyMemory.UNCOUNTED_BYTES + 1001)
    headers = {}
    if as_form:
        content = form_of(a_field("prompt", content))
        headers["Content-Type"] = FORM_TYPE
    if announced:
        headers["Content-Length"] = str(len(content))
    exchange = Exchange(content, headers=headers)
    exchange.memory_bytes = 1000

    exchange.run()

    check_problem(exchange.body, 503, "server_busy")
    assert exchange.answer_headers[b"retry-after"] == b"5"
    assert exchange.passed is None


def test_small_bodies_need_no_memory_of_the_common_one():
    exchange = of_length(MAX_REQUEST_BYTES, b"x" * MAX_REQUEST_BYTES)
    exchange.memory_bytes = 0

    assert exchange.run().status == 200


def test_memory_is_free_again_when_a_request_has_ended():
    memory = forms.BodyMemory(1000)
    with memory.share() as take:
        take(memory.UNCOUNTED_BYTES)
        take(900)
        with memory.share() as take_more, pytest.raises(RefusedError):
            take_more(memory.UNCOUNTED_BYTES + 101)

    with memory.share() as take:
        take(memory.UNCOUNTED_BYTES + 1000)


def test_a_body_must_have_come_by_a_deadline():
    exchange = of_length(9999, *[b"x"] * 1000)
    exchange.body_seconds = 0.05
    receive = exchange.receive

    async def dripping_receive() -> Any:
        await asyncio.sleep(0.01)
        return await receive()

    exchange.receive = dripping_receive  # type: ignore[method-assign]

    exchange.run()

    check_problem(exchange.body, 408, "request_timeout")
    assert "0.05 seconds" in exchange.body["detail"]
    assert exchange.passed is None


def test_a_form_for_an_operation_without_a_file_is_a_request_like_any_other():
    exchange = of_length(MAX_REQUEST_BYTES + 1, b"x", **{"Content-Type": FORM_TYPE})
    exchange.takes_file = False

    exchange.run()

    check_problem(exchange.body, 413, "request_too_large")
    assert exchange.passed is None


def test_a_refusal_closes_the_connection():
    exchange = of_length(MAX_REQUEST_BYTES + 1, b"x").run()

    headers = exchange.answer_headers
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert int(headers[b"content-length"]) == len(json.dumps(exchange.body))


def test_a_refusal_carries_the_request_id():
    headers = {"X-Request-ID": "mine"}
    exchange = of_length(MAX_REQUEST_BYTES + 1, b"x", **headers).run()

    assert exchange.answer_headers[b"x-request-id"] == b"mine"
    assert exchange.body["request_id"] == "mine"


def test_the_rest_of_a_refused_body_is_read_and_dropped():
    exchange = of_length(MAX_REQUEST_BYTES + 1, b"x", b"y", b"z").run()

    assert exchange.events.count("receive") == 3
    assert exchange.events[-1] == "http.response.body"
    assert not exchange.sent[-1].get("more_body")


def test_no_more_is_read_of_a_body_that_is_here():
    """The server would let us wait until the client leaves."""
    exchange = sent_form(b"no form").run()

    assert exchange.status == 400
    assert exchange.events.count("receive") == 1


def test_a_client_that_waits_for_100_continue_is_not_asked_for_its_body():
    exchange = of_length(MAX_REQUEST_BYTES + 1, Expect="100-continue").run()

    assert exchange.status == 413
    assert "receive" not in exchange.events


def test_a_client_that_falls_silent_does_not_hold_the_refusal():
    exchange = of_length(MAX_REQUEST_BYTES + 1).run()

    assert exchange.status == 413
    assert not exchange.sent[-1].get("more_body")


def test_a_form_that_came_in_chunks_is_cut_at_the_limit(incoming):
    body = form_of(a_file(b"x" * (MAX_FORM_BYTES + 1)))

    exchange = sent_form(body).run()

    check_problem(exchange.body, 413, "file_too_large")
    assert exchange.passed is None
    assert not list(incoming.iterdir())


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1000])
def test_a_form_is_there_before_the_application_begins(incoming, chunk_bytes):
    body = form_of(a_field("language", b"en"), a_file(b"\r\n--limi sound"))

    exchange = sent_form(body, chunk_bytes=chunk_bytes).run()

    assert exchange.passed == b""
    form = exchange.form
    assert form is not None
    assert form.fields.dict() == {"language": "en"}
    (file,) = form.files.getlist("file")
    assert (file.name, file.size) == ("talk.mp3", 14)
    assert file.read() == b"\r\n--limi sound"
    assert file.sha256 == hashlib.sha256(b"\r\n--limi sound").hexdigest()  # type: ignore[attr-defined]
    assert Path(file.temporary_file_path()).parent == incoming  # type: ignore[attr-defined]
    form.discard()
    assert not list(incoming.iterdir())


def test_a_large_file_is_stored_block_by_block(monkeypatch):
    stored: list[int] = []
    write = forms.FileSink.write

    def noting_write(sink: Any, block: bytes) -> None:
        stored.append(len(block))
        write(sink, block)

    monkeypatch.setattr(forms.FileSink, "write", noting_write)
    content = bytes(range(256)) * (2**20 // 256)

    exchange = sent_form(form_of(a_file(content))).run()

    assert exchange.form is not None
    assert exchange.file.read() == content
    assert max(stored) < 2 * forms.BLOCK_BYTES
    exchange.form.discard()


def test_the_length_of_a_body_in_chunks_is_told():
    """What reads the body takes one without a length for none."""
    chunked = {"Transfer-Encoding": "chunked"}

    exchange = Exchange(b'{"a"', b": 1}", headers=chunked).run()

    assert exchange.headers_passed == {b"content-length": b"8"}


def test_a_request_that_only_says_that_it_is_a_form_passes():
    exchange = Exchange(b"", headers={"Content-Type": "multipart/form-data"}).run()

    assert exchange.status == 200
    assert exchange.form is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"no parts", id="no-parts"),
        pytest.param(b"--limit\r\n\r\n", id="no-disposition"),
        pytest.param(form_of(a_file(b"cut"), end=b""), id="cut"),
        pytest.param(
            b"--limit\r\nContent-Disposition: attachment; name=file\r\n\r\n"
            b"x\r\n--limit--\r\n",
            id="attachment",
        ),
        pytest.param(
            b"--limit\r\nContent-Disposition: form-data; name=file; filename=a\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--limit--\r\n",
            id="base64",
        ),
        pytest.param(b"--limit\r\n" + b"x" * 100_000, id="endless-header"),
    ],
)
def test_a_malformed_form_is_refused(body, incoming):
    exchange = sent_form(body).run()

    check_problem(exchange.body, 400, "parse_error")
    assert exchange.passed is None
    assert not list(incoming.iterdir())


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data;="],
)
def test_a_form_without_a_boundary_is_refused(content_type):
    headers = {"Content-Type": content_type}

    exchange = Exchange(form_of(a_file(b"x")), headers=headers).run()

    check_problem(exchange.body, 400, "parse_error")


def test_two_files_are_refused(incoming):
    exchange = sent_form(form_of(a_file(b"one"), a_file(b"two"))).run()

    check_problem(exchange.body, 400, "bad_request")
    assert not list(incoming.iterdir())


def test_too_many_fields_are_refused(settings):
    fields = [a_field(f"f{number}", b"") for number in range(1001)]

    exchange = sent_form(form_of(*fields)).run()

    check_problem(exchange.body, 400, "bad_request")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([a_field("prompt", b"x" * MAX_REQUEST_BYTES)], id="long"),
        pytest.param([a_field("x" * 500, b"") for _ in range(30)], id="names"),
        pytest.param([a_field("f", b"x" * 1000) for _ in range(11)], id="many"),
    ],
)
def test_fields_beside_the_file_may_not_be_large(parts, incoming):
    exchange = sent_form(form_of(a_file(b"sound"), *parts)).run()

    check_problem(exchange.body, 413, "request_too_large")
    assert not list(incoming.iterdir())


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('filename="talk.mp3"', "talk.mp3"),
        ('filename="C:\\\\talks\\\\one.mp3"', "one.mp3"),
        ('filename="../../etc/passwd"', "passwd"),
        ('filename="谈话.mp3"', "谈话.mp3"),
        ("filename*=utf-8''%E8%B0%88.mp3", "谈.mp3"),
        ('filename="a\x00b.mp3"', "ab.mp3"),
        (f'filename="{"n" * 300}.mp3"', "n" * 251 + ".mp3"),
    ],
    ids=["plain", "windows", "path", "unicode", "extended", "zero", "long"],
)
def test_the_name_of_a_file_is_a_label(disposition, name):
    exchange = sent_form(form_of((f'name="file"; {disposition}', b"sound"))).run()

    assert exchange.form is not None
    assert exchange.file.name == name
    exchange.form.discard()


@pytest.mark.parametrize("name", ["", ".", "..", "a/.."])
def test_a_file_without_a_name_counts_for_none(name, incoming):
    exchange = sent_form(form_of(a_file(b"sound", name))).run()

    assert exchange.form is not None
    assert not exchange.form.files
    assert not exchange.form.fields
    assert not list(incoming.iterdir())


def test_an_empty_file_is_a_file():
    exchange = sent_form(form_of(a_file(b""))).run()

    assert exchange.form is not None
    assert exchange.file.size == 0
    exchange.form.discard()


@hypothesis_settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.lists(
        st.sampled_from([b"\r", b"\n", b"--", b"limit", b"\r\n--limit", b"-", b"sound"])
    ).map(b"".join),
    value=st.text(alphabet="ab\r\n-é"),
    chunk_bytes=st.integers(1, 80),
)
def test_a_form_says_the_same_however_it_is_cut(content, value, chunk_bytes):
    if b"\r\n--limit" in content:
        # That would be the end of the part.
        content = content.replace(b"\r\n--limit", b"\r\n--limi")
    body = form_of(a_field("text", value.encode()), a_file(content))

    exchange = sent_form(body, chunk_bytes=chunk_bytes).run()

    form = exchange.form
    assert form is not None, exchange.body
    assert form.fields["text"] == value
    assert exchange.file.read() == content
    form.discard()


def test_a_client_that_leaves_leaves_no_file(incoming):
    exchange = sent_form(form_of(a_file(b"x" * 10 * forms.BLOCK_BYTES)))
    exchange.chunks = exchange.chunks[:12]
    exchange.leaves = True

    exchange.run()

    assert exchange.sent == []
    assert exchange.passed is None
    assert not list(incoming.iterdir())


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": FORM_TYPE}], ids=["body", "form"]
)
def test_a_client_that_falls_silent_is_dropped(headers, incoming):
    body = form_of(a_file(b"x" * 10 * forms.BLOCK_BYTES))[: MAX_REQUEST_BYTES - 1]
    exchange = Exchange(body, headers={"Content-Length": "9999", **headers})
    exchange.silence_seconds = 0.05
    receive = exchange.receive

    async def owing_receive() -> Any:
        return {**await receive(), "more_body": True}

    exchange.receive = owing_receive  # type: ignore[method-assign]

    exchange.run()

    check_problem(exchange.body, 408, "request_timeout")
    assert exchange.answer_headers[b"connection"] == b"close"
    assert exchange.passed is None
    assert not list(incoming.iterdir())


def test_an_upload_that_the_disk_cannot_take_is_refused(full_disk):
    length = SMALL_FORM_BYTES + 1

    exchange = of_length(length, b"x" * length, **{"Content-Type": FORM_TYPE}).run()

    assert exchange.status == 507
    assert exchange.passed is None
    check_problem(exchange.body, 507, "storage_full")


def test_an_upload_of_unknown_length_ends_when_the_disk_is_full(
    full_disk, monkeypatch, incoming
):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1, 1, 999_999))

    exchange = sent_form(form_of(a_file(b"x" * 2 * SMALL_FORM_BYTES))).run()

    check_problem(exchange.body, 507, "storage_full")
    assert not list(incoming.iterdir())


def test_a_write_that_fails_is_an_answer(monkeypatch, settings, incoming):
    settings.FILE_UPLOAD_TEMP_DIR = incoming / "gone"

    exchange = sent_form(form_of(a_file(b"sound"))).run()

    check_problem(exchange.body, 507, "storage_full")


def test_a_small_form_passes_on_a_full_disk(full_disk):
    exchange = sent_form(form_of(a_field("priority", b"high"))).run()

    assert exchange.status == 200


def test_a_small_request_passes_on_a_full_disk(full_disk):
    exchange = of_length(3, b"abc").run()

    assert exchange.status == 200


def test_a_request_without_a_body_passes_on_a_full_disk(full_disk):
    exchange = Exchange(b"").run()

    assert exchange.status == 200


def test_other_connections_are_none_of_its_business():
    exchange = Exchange(b"").run(kind="websocket")

    assert exchange.passed == b""


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
