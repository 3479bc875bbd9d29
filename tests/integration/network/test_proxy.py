"""The forward proxy of a job, used by clients that are not ours."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import av
import av.error
import pytest
import requests

from tests.support.media_files import make_tone, write_wav
from tests.support.network import open_sockets
from tests.support.receivers import silent
from tests.support.upstreams import (
    HEAD_OF_ENDLESS,
    Upstream,
    dripping_forever,
    file,
    pouring,
    raw,
    redirecting,
    running_upstream,
)
from tests.support.waiting import patient, wait_for
from tests.unit.network.test_addresses import NOT_PUBLIC
from whisperhub.network.egress import Policy, parse_allowed
from whisperhub.network.proxy import REASON_HEADER, ForwardProxy

BODY = bytes(range(256)) * 300


@contextmanager
def running_proxy(policy: Policy, **values: Any) -> Iterator[ForwardProxy]:
    limits = {"seconds": 20, "idle_seconds": 10, "max_bytes": 2**20, **values}
    with ForwardProxy(policy, **limits) as proxy:
        yield proxy


def session_through(proxy: ForwardProxy) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"http": proxy.url, "https": proxy.url}
    return session


def get(proxy: ForwardProxy, url: str, **values: Any) -> requests.Response:
    with session_through(proxy) as session:
        return session.get(url, timeout=10, **values)


def said(
    proxy: ForwardProxy, request: bytes, *, authorized: bool = True, ends: bool = True
) -> bytes:
    """Send bytes to the proxy and read to the end."""
    parts = urlsplit(proxy.url)
    if authorized:
        pair = base64.b64encode(f"{parts.username}:{parts.password}".encode())
        request = request.replace(
            b"\r\n\r\n", b"\r\nProxy-Authorization: Basic " + pair + b"\r\n\r\n", 1
        )
    with socket.create_connection(("127.0.0.1", parts.port or 0), 10) as connection:
        connection.sendall(request)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
        return answer


# --- Clients -------------------------------------------------------------------------


def test_requests_gets_a_file(upstream):
    upstream.always(file(BODY))

    with running_proxy(upstream.policy()) as proxy:
        answer = get(proxy, f"{upstream.origin}/a?b=1")

    assert answer.content == BODY
    (request,) = upstream.received
    assert request.path == "/a?b=1"
    assert request.headers["host"] == f"127.0.0.1:{upstream.port}"
    assert not [name for name in request.headers if name.startswith("proxy")]
    assert proxy.reasons == []


def test_requests_gets_a_file_over_tls(certificate):
    with running_upstream(certificate=certificate) as upstream:
        upstream.always(file(BODY))

        with running_proxy(upstream.policy()) as proxy:
            answer = get(proxy, f"{upstream.origin}/a", verify=str(certificate))

    assert answer.content == BODY


def test_tls_stays_between_client_and_server(certificate):
    with running_upstream(certificate=certificate) as upstream:
        with (
            running_proxy(upstream.policy()) as proxy,
            pytest.raises(requests.exceptions.SSLError),
        ):
            get(proxy, upstream.origin)

        assert not upstream.received


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_urllib_gets_a_file(certificate, tls):
    with running_upstream(certificate=certificate if tls else None) as upstream:
        upstream.always(file(BODY))
        with running_proxy(upstream.policy()) as proxy:
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({"http": proxy.url, "https": proxy.url}),
                urllib.request.HTTPSHandler(
                    context=ssl.create_default_context(cafile=certificate)
                ),
            )

            with opener.open(f"{upstream.origin}/a", timeout=10) as answer:
                body = answer.read()

    assert body == BODY


def test_ffmpeg_gets_a_file_and_nothing_from_inside(upstream, tmp_path):
    sound = write_wav(tmp_path / "a.wav", make_tone(0.5)).read_bytes()
    upstream.always(file(sound))
    with running_proxy(upstream.policy()) as proxy:
        options = {"http_proxy": proxy.url}

        with av.open(f"{upstream.origin}/a.wav", options=options) as media:
            samples = sum(frame.samples for frame in media.decode(audio=0))
        with pytest.raises(av.error.HTTPForbiddenError):
            av.open("http://169.254.169.254/a.wav", options=options)

    assert samples == 8000
    assert len(upstream.received) == 1


def test_a_body_is_sent_on(upstream):
    with running_proxy(upstream.policy()) as proxy, session_through(proxy) as session:
        session.post(f"{upstream.origin}/", data=BODY * 10, timeout=patient(10))

    assert upstream.received[0].body == BODY * 10


def test_a_redirect_is_the_clients_business_and_judged_again(upstream):
    with running_upstream() as private:
        upstream.always(redirecting(private.origin))

        with running_proxy(upstream.policy()) as proxy:
            answer = get(proxy, upstream.origin)

        assert (answer.status_code, proxy.reasons) == (403, ["blocked_address"])
        assert not private.received


def test_two_hosts_of_one_client_do_not_meet(upstream):
    """An http connection to a proxy may be used again, for another host."""
    with running_upstream("127.0.0.2") as other:
        upstream.always(file(b"one", Connection="keep-alive"))
        other.always(file(b"two"))
        policy = Policy(
            parse_allowed(f"127.0.0.1:{upstream.port},127.0.0.2:{other.port}")
        )
        with running_proxy(policy) as proxy, session_through(proxy) as session:
            bodies = [
                session.get(server.origin, timeout=patient(10)).content
                for server in (upstream, other, upstream)
            ]

    assert bodies == [b"one", b"two", b"one"]


# --- Refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("address", NOT_PUBLIC)
@pytest.mark.parametrize("method", ["CONNECT", "GET"])
def test_nobody_gets_inside(address, method):
    host = f"[{address}]" if ":" in address else address
    target = f"{host}:443" if method == "CONNECT" else f"http://{host}/"
    with running_proxy(Policy()) as proxy:
        answer = said(proxy, f"{method} {target} HTTP/1.1\r\n\r\n".encode())

    head = answer.decode()
    assert head.startswith("HTTP/1.1 403 ")
    assert f"\r\n{REASON_HEADER}: blocked_address\r\n" in head
    assert proxy.reasons == ["blocked_address"]


@pytest.mark.parametrize("authorized", [False, None])
def test_without_the_password_nothing_is_served(upstream, authorized):
    with running_proxy(upstream.policy()) as proxy:
        wrong = b"Proxy-Authorization: Basic am9iOndyb25n\r\n"
        line = f"GET {upstream.origin}/ HTTP/1.1\r\n".encode()
        answer = said(
            proxy,
            line + (wrong if authorized is None else b"") + b"\r\n",
            authorized=False,
        )

    assert answer.startswith(b"HTTP/1.1 407 ")
    assert b"\r\nProxy-Authenticate: Basic " in answer
    assert not upstream.received


def test_each_job_has_a_password_of_its_own(upstream):
    with (
        running_proxy(upstream.policy()) as one,
        running_proxy(upstream.policy()) as two,
    ):
        stolen = two.url.replace(
            str(urlsplit(two.url).password), str(urlsplit(one.url).password)
        )
        answer = requests.get(
            upstream.origin,
            proxies={"http": stolen},
            timeout=patient(10),
            allow_redirects=False,
        )

    assert answer.status_code == 407


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET / HTTP/1.1", 400),
        ("GET /path", 400),
        ("GET ftp://127.0.0.1/ HTTP/1.1", 400),
        ("GET https://127.0.0.1/ HTTP/1.1", 400),
        ("GET file:///etc/passwd HTTP/1.1", 400),
        ("GET http://u:p@127.0.0.1/ HTTP/1.1", 400),
        ("GET http:///a HTTP/1.1", 400),
        ("GET http://127.0.0.1:0/ HTTP/1.1", 400),
        ("GET http://127.0.0.1\\@a/ HTTP/1.1", 400),
        ("GET http://a/\nX:y HTTP/1.1", 400),
        ("CONNECT 127.0.0.1 HTTP/1.1", 400),
        ("CONNECT http://127.0.0.1:80/ HTTP/1.1", 400),
        ("CONNECT 127.0.0.1:99999 HTTP/1.1", 400),
        ("POST http://127.0.0.1/ HTTP/1.1\r\nTransfer-Encoding: chunked", 501),
        ("POST http://127.0.0.1/ HTTP/1.1\r\nContent-Length: 1, 2", 400),
        ("GET http://127.0.0.1/ HTTP/1.1\r\nno header", 400),
        ("GET http://127.0.0.1/ HTTP/1.1\r\nA: b\nHost: c", 400),
        ("GET http://127.0.0.1/ HTTP/1.1\r\nA: " + "b" * 70_000, 400),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else str(value),
)
def test_what_is_no_request_for_a_proxy_is_refused(upstream, line, status):
    with running_proxy(upstream.policy()) as proxy:
        answer = said(proxy, f"{line}\r\n\r\n".encode("latin-1"))

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert not upstream.received


def test_a_host_that_cannot_be_had_is_a_bad_gateway():
    def resolve(host: str, port: int) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with running_proxy(Policy(resolve=resolve)) as proxy:
        answer = get(proxy, "http://nowhere.example/")

    assert (answer.status_code, answer.headers[REASON_HEADER]) == (502, "network")


def test_a_server_cannot_name_a_reason_of_ours(upstream):
    upstream.always(file(BODY, **{REASON_HEADER.replace("-", "_"): "blocked_address"}))

    with running_proxy(upstream.policy()) as proxy:
        assert REASON_HEADER not in get(proxy, upstream.origin).headers


# --- Limits --------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_bytes_above_the_limit_of_the_job_are_cut(certificate, tls):
    with running_upstream(certificate=certificate if tls else None) as upstream:
        upstream.always(pouring(HEAD_OF_ENDLESS, 50))
        with running_proxy(upstream.policy(), max_bytes=3 * 2**20) as proxy:
            received = 0
            try:
                with session_through(proxy) as session:
                    answer = session.get(
                        upstream.origin,
                        timeout=patient(10),
                        stream=True,
                        verify=str(certificate),
                    )
                    for chunk in answer.iter_content(65_536):
                        received += len(chunk)
            except requests.RequestException:
                pass
            refused = said(
                proxy, f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode()
            )

    assert 2**20 < received <= 3 * 2**20
    assert proxy.reasons[0] == "too_large"
    assert f"{REASON_HEADER}: too_large".encode() in refused


def test_a_connection_that_falls_silent_is_closed(upstream):
    upstream.always(silent)
    began = time.monotonic()

    with running_proxy(upstream.policy(), idle_seconds=0.3) as proxy:
        answer = get(proxy, upstream.origin)

    assert (answer.status_code, answer.headers[REASON_HEADER]) == (504, "timeout")
    assert time.monotonic() - began < patient(3)


def test_a_tunnel_that_falls_silent_is_closed(upstream):
    line = f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode()
    with running_proxy(upstream.policy(), idle_seconds=0.3) as proxy:
        began = time.monotonic()

        answer = said(proxy, line, ends=False)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began < patient(3)
    assert proxy.reasons == ["timeout"]


def test_a_drip_ends_with_the_job(upstream):
    upstream.always(dripping_forever)
    began = time.monotonic()

    with running_proxy(upstream.policy(), seconds=0.7) as proxy:
        get(proxy, upstream.origin)
        wait_for(lambda: "timeout" in proxy.reasons)

    assert 0.5 < time.monotonic() - began < patient(4)


def test_a_connection_that_finds_no_thread_ends_no_other(upstream, monkeypatch):
    start, failures = threading.Thread.start, iter([True])

    def start_or_fail(thread: threading.Thread) -> None:
        if thread.name == "proxy" and next(failures, False):
            raise RuntimeError("can't start new thread")
        start(thread)

    with running_proxy(upstream.policy()) as proxy:
        monkeypatch.setattr(threading.Thread, "start", start_or_fail)
        with pytest.raises(requests.ConnectionError):
            get(proxy, upstream.origin)

        assert get(proxy, upstream.origin).ok


def test_leaving_the_block_ends_everything(upstream):
    before = open_sockets()
    upstream.always(dripping_forever)
    began = time.monotonic()

    def ask(proxy: ForwardProxy) -> None:
        # The block may end before the head of the answer has come through.
        with suppress(requests.ConnectionError):
            get(proxy, upstream.origin)

    with running_proxy(upstream.policy()) as proxy:
        thread = threading.Thread(target=ask, args=[proxy])
        thread.start()
        wait_for(lambda: upstream.received)

    thread.join(patient(5))
    assert time.monotonic() - began < patient(5)
    upstream.close()
    wait_for(lambda: not any(t.name == "proxy" for t in threading.enumerate()))
    wait_for(lambda: open_sockets() <= before)


def test_many_connections_leave_no_descriptor(upstream):
    upstream.always(file(b"x"))
    with running_proxy(upstream.policy()) as proxy:
        get(proxy, upstream.origin)
        before = open_sockets()
        for _ in range(20):
            get(proxy, upstream.origin)

        wait_for(lambda: open_sockets() <= before)


def test_a_broken_answer_is_a_bad_gateway(upstream: Upstream):
    upstream.always(raw(b"no http"))

    with running_proxy(upstream.policy()) as proxy:
        assert get(proxy, upstream.origin).status_code == 502


def test_urllib_is_told_why(upstream):
    with running_proxy(Policy()) as proxy:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"http": proxy.url})
        )

        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(upstream.origin, timeout=patient(10))

    assert caught.value.headers[REASON_HEADER] == "blocked_address"
    caught.value.close()
