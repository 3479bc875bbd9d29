"""Files from real servers, whatever these do."""

from __future__ import annotations

import gzip
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tests.integration.network.test_egress import answering_with
from tests.support.network import open_sockets
from tests.support.receivers import answering, hanging_up, silent, unused_address
from tests.support.upstreams import (
    HEAD_OF_ENDLESS,
    REDIRECT,
    dripping_forever,
    dripping_headers,
    file,
    make_certificate,
    pouring,
    raw,
    redirecting,
    running_upstream,
)
from tests.support.waiting import patient, wait_for
from tests.unit.network.test_addresses import NOT_PUBLIC
from whisperhub.network import downloads
from whisperhub.network.deadline import Deadline
from whisperhub.network.downloads import Download, DownloadError, download
from whisperhub.network.egress import Policy, parse_allowed
from whisperhub.network.posting import PostError, post

BODY = bytes(range(256)) * 300
# More than what a process may grow by, and less than what harms the machine.
HUGE_MEGABYTES = 400
GROWTH_BYTES = 100 * 2**20


def fetch(
    url: str,
    policy: Policy,
    *,
    seconds: float = 20,
    max_bytes: int = 2**20,
    **values: Any,
) -> tuple[bytes, Download]:
    body = io.BytesIO()
    with Deadline(seconds) as deadline:
        done = download(
            url, body, policy=policy, deadline=deadline, max_bytes=max_bytes, **values
        )
    return body.getvalue(), done


def refusal(url: str, policy: Policy, **values: Any) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        fetch(url, policy, **values)
    return caught.value


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Tells by how many bytes this process has grown at most."""
    process = psutil.Process()
    before = most = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    yield lambda: most - before
    done.set()
    thread.join()


# --- Good servers --------------------------------------------------------------------


def test_a_file_comes_whole(upstream):
    upstream.always(file(BODY, Content_Type="binary/octet-stream"))
    seen: list[tuple[int, int | None]] = []

    body, done = fetch(
        f"{upstream.origin}/talks/my%20talk.mp3?sig=1",
        upstream.policy(),
        on_bytes=lambda *counts: seen.append(counts),
    )

    assert body == BODY
    assert done == Download(len(BODY), "my talk.mp3")
    assert seen[-1] == (len(BODY), len(BODY))
    assert [count for count, _ in seen] == sorted(count for count, _ in seen)
    (request,) = upstream.received
    assert (request.method, request.path) == ("GET", "/talks/my%20talk.mp3?sig=1")
    assert request.headers == {
        "host": f"127.0.0.1:{upstream.port}",
        "user-agent": "WhisperHub",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


@pytest.mark.parametrize(
    "answer",
    [
        raw(HEAD_OF_ENDLESS, BODY),
        raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            *(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:9], BODY[9:])),
            b"0\r\n\r\n",
        ),
    ],
    ids=["until the end", "chunked"],
)
def test_a_file_of_unknown_length_comes_whole(upstream, answer):
    upstream.always(answer)

    body, _ = fetch(upstream.origin, upstream.policy())

    assert body == BODY


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="my talk.mp3"', "my talk.mp3"),
        (
            "attachment; filename=\"x.mp3\"; filename*=UTF-8''%e4%bc%9a%e8%ae%ae.mp3",
            "会议.mp3",
        ),
        ("attachment; filename*=iso-8859-1'en'caf%e9.mp3", "café.mp3"),
        ("attachment; filename*=idna''a; filename=b.mp3", "b.mp3"),
        ("attachment", "last.mp3"),
        ("attachment; filename=" + "a" * 5000, "last.mp3"),
        (";;=;", "last.mp3"),
    ],
)
def test_the_name_is_the_servers_or_the_last_part_of_the_address(
    upstream, disposition, name
):
    upstream.always(file(BODY, Content_Disposition=disposition))

    _, done = fetch(f"{upstream.origin}/a/last.mp3", upstream.policy())

    assert done.name == name


def test_a_server_is_checked_by_its_certificate(certificate):
    with running_upstream(certificate=certificate) as upstream:
        upstream.always(file(BODY))

        body, _ = fetch(upstream.origin, upstream.policy(ca_file=certificate))

    assert body == BODY


# --- Redirects -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(upstream, status):
    upstream.then(redirecting("next/two.mp3#part", status), file(BODY))

    body, done = fetch(f"{upstream.origin}/a/one", upstream.policy())

    assert (body, done.name) == (BODY, "two.mp3")
    assert [request.path for request in upstream.received] == [
        "/a/one",
        "/a/next/two.mp3",
    ]


@pytest.mark.parametrize(("hops", "comes"), [(5, True), (6, False)])
def test_five_redirects_are_enough(upstream, hops, comes):
    upstream.then(*[redirecting("/again")] * hops, file(BODY))

    if comes:
        assert fetch(upstream.origin, upstream.policy())[0] == BODY
    else:
        assert refusal(upstream.origin, upstream.policy()).code == "bad_redirect"
    assert len(upstream.received) == 6


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_redirect_to_an_inside_is_refused(upstream, address):
    host = f"[{address.partition('%')[0]}]" if ":" in address else address
    upstream.always(redirecting(f"http://{host}/latest/meta-data/"))

    error = refusal(upstream.origin, upstream.policy())

    assert (error.code, error.may_pass) == ("blocked_address", False)


def test_a_redirect_to_a_neighbours_port_is_refused(upstream):
    with running_upstream() as private:
        upstream.always(redirecting(private.origin))

        assert refusal(upstream.origin, upstream.policy()).code == "blocked_address"

        assert not private.received


@pytest.mark.parametrize(
    "location",
    [
        "",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://user:secret@127.0.0.1/",
        "http:///nowhere",
        "http://[::1",
        "//127.0.0.1:0/",
        "http://127.0.0.1\\@example.org/",
        "/" + "a" * 8192,
    ],
    ids=lambda location: location[:30],
)
def test_a_redirect_that_is_no_link_is_refused(upstream, location):
    upstream.always(redirecting(location))

    assert refusal(upstream.origin, upstream.policy()).code == "bad_redirect"


def test_a_redirect_out_of_tls_is_refused(upstream, certificate):
    with running_upstream(certificate=certificate) as secure:
        secure.always(redirecting(upstream.origin))
        policy = Policy(
            parse_allowed(f"127.0.0.1:{secure.port},127.0.0.1:{upstream.port}"),
            ca_file=certificate,
        )

        assert refusal(secure.origin, policy).code == "bad_redirect"

    assert not upstream.received


@pytest.mark.parametrize("stays", [True, False])
def test_credentials_stay_with_the_host_that_they_are_for(upstream, stays):
    with running_upstream("127.0.0.2") as other:
        target = upstream if stays else other
        upstream.then(
            answering(302, Location=f"{target.origin}/b", Set_Cookie="seen=1"),
            file(BODY),
        )
        other.always(file(BODY))
        policy = Policy(
            parse_allowed(f"127.0.0.1:{upstream.port},127.0.0.2:{other.port}")
        )

        fetch(
            f"{upstream.origin}/a",
            policy,
            headers={"Authorization": "Bearer x", "Cookie": "a=b", "X-Any": "1"},
        )

        last = target.received[-1].headers
    assert last["x-any"] == "1"
    assert ("authorization" in last, "cookie" in last) == (stays, stays)


@pytest.mark.parametrize("stays", [True, False])
def test_a_cookie_stays_with_the_server_that_set_it(upstream, stays):
    """Cookies know no ports, but another port may be another's server."""
    with running_upstream() as other:
        target = upstream if stays else other
        upstream.then(
            answering(302, Location=f"{target.origin}/b", Set_Cookie="seen=1"),
            file(BODY),
        )
        other.always(file(BODY))
        policy = Policy(
            parse_allowed(f"127.0.0.1:{upstream.port},127.0.0.1:{other.port}")
        )

        fetch(f"{upstream.origin}/a", policy)

    assert ("cookie" in target.received[-1].headers) == stays


def test_the_body_of_a_redirect_is_not_read(upstream, growth):
    upstream.then(
        pouring(REDIRECT + b"/next\r\n\r\n", HUGE_MEGABYTES),
        file(BODY),
    )

    body, _ = fetch(upstream.origin, upstream.policy(), max_bytes=2**30)

    assert body == BODY
    assert growth() < GROWTH_BYTES


# --- Addresses -----------------------------------------------------------------------

SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0.0.0.0",  # noqa: S104
    "0",
    "localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]",
    "127.0.0.1.",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_this_machine_leads_to_it(upstream, host):
    upstream.always(file(BODY))
    policy = Policy(ports=frozenset({upstream.port}))

    error = refusal(f"http://{host}:{upstream.port}/", policy)

    assert error.code == "blocked_address"
    assert not upstream.received


@pytest.mark.parametrize("host", SPELLINGS)
def test_nothing_is_posted_to_this_machine_either(upstream, host):
    policy = Policy(ports=frozenset({upstream.port}))

    with pytest.raises(PostError, match="blocked_address"):
        post(
            f"http://{host}:{upstream.port}/",
            b"{}",
            headers={},
            seconds=5,
            policy=policy,
        )

    assert not upstream.received


def test_a_name_that_moves_after_the_look_up_leads_nowhere_else(upstream):
    """The second answer names a private server; nobody asks for it."""
    with running_upstream("127.0.0.2") as meant:
        meant.always(file(BODY))
        resolve, asked = answering_with(["127.0.0.2"], ["127.0.0.1"])
        policy = Policy(parse_allowed(f"127.0.0.2:{meant.port}"), resolve=resolve)

        body, _ = fetch(f"http://moving.example:{meant.port}/", policy)

        assert body == BODY
        assert meant.received[0].headers["host"] == f"moving.example:{meant.port}"
    assert asked == ["moving.example"]


def test_a_name_that_moves_before_a_redirect_is_judged_again():
    with running_upstream("127.0.0.2") as meant:
        meant.always(redirecting("/again"))
        resolve, asked = answering_with(["127.0.0.2"], ["127.0.0.1"])
        policy = Policy(parse_allowed(f"127.0.0.2:{meant.port}"), resolve=resolve)

        error = refusal(f"http://moving.example:{meant.port}/", policy)

        assert error.code == "blocked_address"
        assert len(meant.received) == 1
    assert asked == ["moving.example"] * 2


@pytest.mark.parametrize("bypass", ["", "*"])
@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
def test_the_environment_names_no_proxy(upstream, monkeypatch, name, bypass):
    with running_upstream() as proxy:
        monkeypatch.setenv(name, proxy.origin)
        monkeypatch.setenv("NO_PROXY", bypass)
        monkeypatch.setenv("no_proxy", bypass)
        upstream.always(file(BODY))

        assert fetch(upstream.origin, upstream.policy())[0] == BODY
        assert refusal(upstream.origin, Policy()).code == "blocked_address"

        assert not proxy.received


def test_a_netrc_file_is_not_read(upstream, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    upstream.always(file(BODY))

    fetch(upstream.origin, upstream.policy())

    assert "authorization" not in upstream.received[0].headers


# --- Bodies --------------------------------------------------------------------------


def test_a_compressed_body_is_refused_unread(upstream, growth):
    bomb = gzip.compress(bytes(HUGE_MEGABYTES * 2**20), 1)
    start = growth()
    upstream.always(file(bomb, Content_Encoding="gzip"))

    error = refusal(upstream.origin, upstream.policy(), max_bytes=2**30)

    assert (error.code, error.may_pass) == ("bad_answer", False)
    assert growth() - start < GROWTH_BYTES


@pytest.mark.parametrize("coding", ["gzip", "br", "x-gzip", "identity, gzip", "GZIP"])
def test_every_coding_is_refused(upstream, coding):
    upstream.always(file(BODY, Content_Encoding=coding))

    assert refusal(upstream.origin, upstream.policy()).code == "bad_answer"


def test_a_body_that_ends_early_is_no_file(upstream):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(BODY) + 1)
    upstream.always(raw(head, BODY))

    error = refusal(upstream.origin, upstream.policy())

    assert (error.code, error.may_pass) == ("interrupted", True)


def test_a_chunked_body_that_ends_early_is_no_file(upstream):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.always(raw(head, b"5\r\nabcde\r\n"))

    assert refusal(upstream.origin, upstream.policy()).code == "interrupted"


def test_bytes_beyond_the_named_length_are_not_taken(upstream):
    upstream.always(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", BODY))

    assert fetch(upstream.origin, upstream.policy())[0] == BODY[:3]


@pytest.mark.parametrize(
    "head",
    [
        HEAD_OF_ENDLESS,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n",
    ],
    ids=["unknown length", "named length", "one chunk"],
)
def test_a_body_above_the_limit_is_cut(upstream, growth, head):
    upstream.always(pouring(head, HUGE_MEGABYTES))
    body = io.BytesIO()

    with Deadline(20) as deadline, pytest.raises(DownloadError, match="too_large"):
        download(
            upstream.origin,
            body,
            policy=upstream.policy(),
            deadline=deadline,
            max_bytes=2**20,
        )

    # What says by itself that it is too long is not even begun.
    named = b"Content-Length" in head
    assert (len(body.getvalue()) == 0) == named
    assert len(body.getvalue()) <= 2**20
    assert growth() < GROWTH_BYTES


@pytest.mark.parametrize("behaviour", [dripping_forever, dripping_headers, silent])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_what_does_not_come_to_an_end_is_cut(certificate, behaviour, tls):
    with running_upstream(certificate=certificate if tls else None) as upstream:
        upstream.always(behaviour)
        began = time.monotonic()

        error = refusal(
            upstream.origin,
            upstream.policy(ca_file=certificate if tls else None),
            seconds=0.7,
        )

    assert (error.code, error.may_pass) == ("timeout", True)
    assert 0.5 < time.monotonic() - began < patient(4)


def test_a_server_that_falls_silent_is_not_waited_for(upstream):
    upstream.always(silent)
    began = time.monotonic()

    error = refusal(upstream.origin, upstream.policy(), idle_seconds=0.3)

    assert error.code == "timeout"
    assert time.monotonic() - began < patient(4)


def beginning_fast(connection: socket.socket, closed: threading.Event) -> None:
    """Send much at once, and then byte by byte without an end."""
    connection.sendall(HEAD_OF_ENDLESS + bytes(100_000))
    while not closed.wait(0.05):
        connection.sendall(b"x")


@pytest.mark.parametrize("behaviour", [dripping_forever, beginning_fast])
def test_a_server_that_is_slow_for_long_is_not_waited_for(
    upstream, monkeypatch, behaviour
):
    monkeypatch.setattr(downloads, "PACE_SECONDS", 0.3)
    upstream.always(behaviour)
    began = time.monotonic()

    error = refusal(upstream.origin, upstream.policy(), min_bytes_per_second=1000)

    assert (error.code, error.may_pass) == ("timeout", True)
    assert 0.3 <= time.monotonic() - began < patient(4)


def test_a_server_that_is_fast_enough_is_waited_for(upstream, monkeypatch):
    monkeypatch.setattr(downloads, "PACE_SECONDS", 0.3)
    upstream.always(dripping_forever)
    began = time.monotonic()

    # About 20 bytes a second come, until the whole has lasted too long.
    refusal(upstream.origin, upstream.policy(), min_bytes_per_second=5, seconds=1.5)

    assert time.monotonic() - began > 1.4


@contextmanager
def ending_soon(deadline: Deadline) -> Iterator[None]:
    threading.Timer(0.3, deadline.cut).start()
    with pytest.raises(DownloadError, match="timeout"):
        yield


def test_a_download_can_be_ended_from_outside(upstream):
    upstream.always(dripping_forever)
    began = time.monotonic()
    with Deadline(20) as deadline, ending_soon(deadline):
        download(
            upstream.origin,
            io.BytesIO(),
            policy=upstream.policy(),
            deadline=deadline,
            max_bytes=2**20,
        )

    assert time.monotonic() - began < patient(2)


# --- Other failures ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "may_pass"),
    [
        (204, "bad_answer", False),
        (206, "bad_answer", False),
        (304, "bad_answer", False),
        (400, "forbidden", False),
        (401, "forbidden", False),
        (403, "forbidden", False),
        (404, "not_found", False),
        (408, "timeout", True),
        (410, "not_found", False),
        (429, "rate_limited", True),
        (451, "forbidden", False),
        (500, "upstream_error", True),
        (503, "upstream_error", True),
    ],
)
def test_the_status_decides(upstream, status, code, may_pass):
    upstream.always(answering(status, b"a page"))

    error = refusal(upstream.origin, upstream.policy())

    assert (error.code, error.http_status, error.may_pass) == (code, status, may_pass)


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (hanging_up, "network"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "network"),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
            "bad_answer",
        ),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "network"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"), "network"),
    ],
    ids=["gone", "no http", "two lengths", "many headers", "long header"],
)
def test_answers_that_make_no_sense_have_a_code(upstream, behaviour, code):
    upstream.always(behaviour)

    assert refusal(upstream.origin, upstream.policy()).code == code


def test_nobody_listening_is_a_matter_of_the_network():
    url = unused_address()

    error = refusal(url, Policy(parse_allowed("127.0.0.0/8"), frozenset(range(65536))))

    assert (error.code, error.may_pass) == ("network", True)


def test_a_name_without_an_address_is_a_matter_of_the_network():
    def resolve(host: str, port: int) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    error = refusal("http://nowhere.example/", Policy(resolve=resolve))

    assert (error.code, error.may_pass) == ("network", True)


@pytest.mark.parametrize("trusted", [True, False], ids=["other name", "unknown issuer"])
def test_a_certificate_that_does_not_fit_ends_it(tmp_path, trusted):
    certificate = make_certificate(tmp_path, "elsewhere.example")
    with running_upstream(certificate=certificate) as upstream:
        upstream.always(file(BODY))
        policy = upstream.policy(ca_file=certificate if trusted else None)

        assert refusal(upstream.origin, policy).code == "tls_failed"

        assert not upstream.received


def test_a_file_that_cannot_be_written_is_our_own_fault(upstream):
    upstream.always(file(BODY))

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with Deadline(20) as deadline, pytest.raises(OSError, match="No space"):
        download(
            upstream.origin,
            Full(),
            policy=upstream.policy(),
            deadline=deadline,
            max_bytes=2**20,
        )


@pytest.mark.parametrize(
    "behaviour",
    [file(BODY), dripping_forever, answering(404)],
    ids=["file", "drip", "refusal"],
)
def test_neither_connection_nor_thread_is_left_behind(behaviour):
    before = open_sockets()

    with running_upstream() as upstream:
        upstream.always(behaviour)
        try:
            fetch(upstream.origin, upstream.policy(), seconds=0.3)
        except DownloadError:
            pass

    wait_for(lambda: open_sockets() <= before)
    wait_for(
        lambda: not any(isinstance(t, threading.Timer) for t in threading.enumerate())
    )
