"""Uploads to the web process as operators run it: large, slow and broken ones."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.integration.api.conftest import TASKS
from tests.support.factories import ApiKeyFactory, TaskFactory
from tests.support.problems import check_problem
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient, wait_for
from tests.support.web import running_web
from tools.uploaders import BEGIN, END, FORM_TYPE, silent_wav, upload
from transcription.models import TranscriptionTask
from whisperhub.web.descriptors import MANY

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

MIB = 2**20
LARGE_BYTES = 300 * MIB
# Little enough to be dropped whole, so that the client comes to read the answer.
REFUSED_BYTES = 20 * MIB
# Far below the file, and above what a request leaves behind in an interpreter.
MOST_GROWTH_BYTES = 60 * MIB
# More than Python's thread pools have, and than a database server likes to serve.
SLOW_UPLOADERS = 64
THREADS_OF_VIEWS = 4
SILENCE_SECONDS = 1.5


@pytest.fixture
def key() -> str:
    secret: str = ApiKeyFactory().secret
    return secret


@pytest.fixture(scope="module")
def shared_media_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The media volume of the web processes of this file."""
    root = tmp_path_factory.mktemp("media")
    (root / "incoming").mkdir()
    return root


@pytest.fixture
def media_root(shared_media_root: Path, settings: Any) -> Path:
    """The volume, for the test as well."""
    settings.MEDIA_ROOT = shared_media_root
    return shared_media_root


@contextmanager
def web_process(media_root: Path, **variables: str) -> Iterator[int]:
    """A web process with these variables; gives its port."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WHISPERHUB_MIN_FREE_SPACE", "1MiB")
        for name, value in variables.items():
            environment.setenv(name, value)
        with running_web(media_root) as address:
            yield urlsplit(address).port or 0


@pytest.fixture(scope="module")
def patient_web(
    django_db_setup: None, django_db_blocker: Any, shared_media_root: Path
) -> Iterator[int]:
    """A web process for the tests of this file."""
    with django_db_blocker.unblock(), web_process(shared_media_root) as port:
        yield port


@pytest.fixture(scope="module")
def impatient_web(
    django_db_setup: None, django_db_blocker: Any, shared_media_root: Path
) -> Iterator[int]:
    """Another, which waits for silent clients for a moment only."""
    variables = {
        "WHISPERHUB_UPLOAD_SILENCE_SECONDS": str(SILENCE_SECONDS),
        "WHISPERHUB_HEADER_SECONDS": str(SILENCE_SECONDS),
    }
    with (
        django_db_blocker.unblock(),
        web_process(shared_media_root, **variables) as port,
    ):
        yield port


@pytest.fixture
def impatient() -> None:
    """Before `web`: the process that does not wait."""


@pytest.fixture
def web(request: pytest.FixtureRequest, media_root: Path) -> int:
    """The port of a web process."""
    is_impatient = "impatient" in request.fixturenames
    name = "impatient_web" if is_impatient else "patient_web"
    port: int = request.getfixturevalue(name)
    return port


def processes_of(port: int) -> list[psutil.Process]:
    """Those of the web server that listens on a port."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            connections = child.net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(each.laddr and each.laddr.port == port for each in connections):
            found.append(child)
    return found


def headers_of(key: str, **more: str) -> bytes:
    lines = {
        "Host": "localhost",
        "Authorization": f"Bearer {key}",
        "Content-Type": FORM_TYPE,
        **more,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {TASKS} HTTP/1.1\r\n{head}\r\n".encode()


@contextmanager
def connected(port: int, *sent: bytes) -> Iterator[socket.socket]:
    """A connection on which something was sent."""
    with socket.create_connection(
        ("127.0.0.1", port), timeout=patient(30)
    ) as connection:
        for part in sent:
            connection.sendall(part)
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    said = b""
    while part := connection.recv(65_536):
        said += part
    return said


def get_list(port: int, key: str) -> requests.Response:
    return requests.get(
        f"http://127.0.0.1:{port}{TASKS}",
        headers={"Authorization": f"Bearer {key}"},
        timeout=patient(30),
    )


@contextmanager
def most(measure: Callable[[], int]) -> Iterator[Callable[[], int]]:
    """Give the greatest value of a measurement while the block runs."""
    highest = [measure()]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            highest.append(measure())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield lambda: max(highest)
    finally:
        done.set()
        looking.join()


@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunked"])
def test_a_large_upload_is_written_once_and_held_in_no_memory(web, key, announced):
    size = LARGE_BYTES if announced else None
    assert upload(web, key, [b"small"], size_bytes=5).status == 201
    (process,) = processes_of(web)
    before = process.memory_full_info().uss
    written = process.io_counters().write_chars

    with most(lambda: process.memory_full_info().uss) as peak:
        answer = upload(web, key, silent_wav(LARGE_BYTES), size_bytes=size)

    assert answer.status == 201, answer.body
    task = TranscriptionTask.objects.latest("id")
    assert task.file_size_bytes == LARGE_BYTES
    assert TaskFiles(task.public_id).original.path.stat().st_size == LARGE_BYTES
    assert peak() - before < MOST_GROWTH_BYTES
    assert process.io_counters().write_chars - written < 1.05 * LARGE_BYTES


@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("who", ["stranger", "reader", "full"])
def test_who_may_not_upload_learns_it_before_the_file_is_read(web, who, announced):
    secret = {
        "stranger": lambda: "whk_nobodys",
        "reader": lambda: ApiKeyFactory(scope="read").secret,
        "full": lambda: ApiKeyFactory(unfinished_tasks=1).secret,
    }[who]()
    if who == "full":
        assert upload(web, secret, [b"small"], size_bytes=5).status == 201
    (process,) = processes_of(web)
    written = process.io_counters().write_chars
    size = REFUSED_BYTES if announced else None

    answer = upload(web, secret, silent_wav(REFUSED_BYTES), size_bytes=size)

    refusals = {
        "stranger": (401, "invalid_api_key"),
        "reader": (403, "insufficient_scope"),
        "full": (429, "queue_quota_exceeded"),
    }
    assert (answer.status, answer.body["code"]) == refusals[who]
    assert process.io_counters().write_chars - written < MIB


def test_the_web_process_may_have_many_connections_and_files_open(web):
    (process,) = processes_of(web)

    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)

    assert hard == psutil.RLIM_INFINITY or soft >= min(hard, MANY)


def test_slow_uploaders_hold_neither_threads_nor_connections(web, key, media_root):
    TaskFactory()
    get_list(web, key)
    (process,) = processes_of(web)
    threads = process.num_threads()
    length = str(100 * MIB)

    with ExitStack() as slow:
        uploading = [
            slow.enter_context(
                connected(
                    web, headers_of(key, **{"Content-Length": length}), BEGIN, b"sound"
                )
            )
            for _ in range(SLOW_UPLOADERS)
        ]
        for connection in uploading:
            # A second packet: the first ones have been read.
            connection.sendall(b"more")
        wait_for(
            lambda: (
                requests.get(f"http://127.0.0.1:{web}/healthz", timeout=patient(5)).ok
            )
        )
        began = time.monotonic()
        answers = [get_list(web, key) for _ in range(5)]
        seconds = time.monotonic() - began
        threads_now = process.num_threads()
        assert len(process.net_connections(kind="tcp")) > SLOW_UPLOADERS
        open_databases = sum(".sqlite3" in file.path for file in process.open_files())

    assert {answer.status_code for answer in answers} == {200}
    # Each would wait for a thread if uploaders held them.
    assert seconds < patient(10)
    assert threads_now < threads + 8
    # Each thread of views keeps a connection, which has up to three files open.
    assert open_databases <= 3 * (THREADS_OF_VIEWS + 1)
    wait_for(lambda: not list((media_root / "incoming").iterdir()), named="an end")
    assert TranscriptionTask.objects.count() == 1


def test_a_client_that_falls_silent_is_told_and_dropped(
    impatient, web, key, media_root
):
    length = {"Content-Length": "1000000"}
    sound = b"sound" * 100_000

    with connected(web, headers_of(key, **length), BEGIN, sound) as connection:
        said = read_all(connection)

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    check_problem(json.loads(body), 408, "request_timeout")
    assert not list((media_root / "incoming").iterdir())


def test_a_client_that_leaves_in_the_middle_leaves_no_file(web, key, media_root):
    incoming = media_root / "incoming"
    length = {"Content-Length": "1000000"}

    with connected(web, headers_of(key, **length), BEGIN, b"sound" * 100_000):
        wait_for(lambda: list(incoming.iterdir()), named="the file")

    wait_for(lambda: not list(incoming.iterdir()), named="its end")
    assert not TranscriptionTask.objects.exists()


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /healthz HTTP/1.1\r\nHost: localh"],
    ids=["nothing", "half-a-head"],
)
@pytest.mark.parametrize("reused", [False, True], ids=["new", "kept"])
def test_a_connection_that_asks_for_nothing_is_closed(impatient, web, begun, reused):
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" if reused else b""

    with connected(web, whole) as connection:
        if reused:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.sendall(begun)
        connection.settimeout(patient(15))
        # By uvicorn's own rule where a kept connection stays idle.
        assert read_all(connection) == b"" or reused


def test_too_long_a_head_is_refused(web):
    line = b"X-Filler: " + b"x" * 8000 + b"\r\n"

    with connected(web, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n") as connection:
        try:
            for _ in range(200):
                connection.sendall(line)
            said = read_all(connection)
        except (BrokenPipeError, ConnectionResetError):
            return

    assert said.startswith(b"HTTP/1.1 400")


def test_json_may_come_in_chunks(web, key):
    def pieces() -> Iterator[bytes]:
        yield b'{"file_url": '
        yield b'"https://example.org/a.mp3"}'

    response = requests.post(
        f"http://127.0.0.1:{web}{TASKS}",
        data=pieces(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        timeout=patient(30),
    )

    assert response.status_code == 201, response.text
    assert TranscriptionTask.objects.get().file_url == "https://example.org/a.mp3"


def test_a_form_may_change_a_task(web, key):
    """Django by itself reads forms of POST only."""
    made = upload(web, key, [b"sound"], size_bytes=5).body

    response = requests.patch(
        made["links"]["self"].replace("testserver", f"127.0.0.1:{web}"),
        files={"priority": (None, "high")},
        headers={"Authorization": f"Bearer {key}"},
        timeout=patient(30),
    )

    assert response.status_code == 200, response.text
    assert response.json()["priority"] == "high"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"platform": "' + b"x" * MIB + b'"}', 413, "request_too_large"),
        (BEGIN + b"sound", 400, "parse_error"),
        (
            BEGIN.replace(b'; filename="talk.wav"', b"") + b"x" * MIB + END,
            413,
            "request_too_large",
        ),
    ],
    ids=["json", "cut", "field"],
)
def test_what_is_refused_is_a_problem_document(web, key, body, status, code):
    content_type = "application/json" if body.startswith(b"{") else FORM_TYPE

    response = requests.post(
        f"http://127.0.0.1:{web}{TASKS}",
        data=body,
        headers={"Authorization": f"Bearer {key}", "Content-Type": content_type},
        timeout=patient(30),
    )

    assert response.status_code == status
    answer: Any = response.json()
    check_problem(answer, status, code)
    assert answer["request_id"] == response.headers["X-Request-ID"]
