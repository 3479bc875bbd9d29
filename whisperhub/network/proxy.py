"""A forward proxy on loopback for one job: a way out for programs that are not ours.

Libraries with network code of their own cannot be given our sockets, but all of them
know proxies. TLS stays between them and the server.
"""

from __future__ import annotations

import base64
import logging
import re
import secrets
import selectors
import socket
import threading
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from whisperhub.edges import Edge, guarded
from whisperhub.network.deadline import Deadline
from whisperhub.network.egress import BlockedAddressError, Policy

logger = logging.getLogger(__name__)

REASON_HEADER: Final = "WhisperHub-Reason"
USER: Final = "job"
MAX_HEAD_BYTES: Final = 65_536
CHUNK_BYTES: Final = 65_536
MAX_CONNECTIONS: Final = 64
STOP_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 1.0
DRAIN_READS: Final = 16
# Of one connection (RFC 9110, 7.6.1), and `Expect`, which we do not answer.
HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "proxy-authorization"),
        *("proxy-authenticate", "te", "trailer", "upgrade", "expect"),
    }
)
REQUEST_LINE: Final = re.compile(r"[A-Z]+ [!-~]+ HTTP/1\.[01]")
PHRASES: Final = {
    400: "Bad Request",
    403: "Forbidden",
    407: "Proxy Authentication Required",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class _Head(NamedTuple):
    """The start of a message: its first line, its headers, and what came after them."""

    first_line: str
    headers: list[tuple[str, str]]
    rest: bytes

    def all_of(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


class _RefusedError(Exception):
    """A request that is not served."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ForwardProxy:
    """Takes CONNECT and absolute http requests, and connects as the policy allows.

    It listens for the length of a `with` block. Who connects needs the password, which
    is a new one each time.

    Attributes:
        url: with the password: what a client takes for its proxy.
        reasons: why requests were refused or cut, in order: blocked_address, too_large,
            timeout, network, bad_request. A client often knows less.
    """

    def __init__(
        self, policy: Policy, *, seconds: float, idle_seconds: float, max_bytes: int
    ) -> None:
        """Make one that does not listen yet.

        Args:
            policy: where requests may go.
            seconds: for the whole job, from the `with` on.
            idle_seconds: how long a connection may be silent.
            max_bytes: that servers may send, in all.
        """
        self.url = ""
        self.reasons: list[str] = []
        self._policy = policy
        self._deadline = Deadline(seconds)
        self._idle_seconds = idle_seconds
        self._bytes_left = max_bytes
        self._password = secrets.token_urlsafe(24)
        self._closing = False
        self._lock = threading.Lock()
        self._places = threading.Semaphore(MAX_CONNECTIONS)
        self._threads: set[threading.Thread] = set()

    def __enter__(self) -> Self:
        """Listen."""
        self._server = socket.create_server(("127.0.0.1", 0))
        port = self._server.getsockname()[1]
        self.url = f"http://{USER}:{self._password}@127.0.0.1:{port}"
        self._deadline.__enter__()
        self._acceptor = threading.Thread(
            target=self._accept, name="proxy", daemon=True
        )
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all connections."""
        self._closing = True
        self._deadline.cut()
        try:
            # Wakes the thread that accepts, where closing alone does not.
            self._server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._server.close()
        self._acceptor.join(STOP_SECONDS)
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(STOP_SECONDS)
        self._deadline.__exit__(kind, error, traceback)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(
                target=self._serve, args=[client], name="proxy", daemon=True
            )
            with guarded(Edge.CONNECTION, "of the proxy, at its start") as start:
                with self._lock:
                    self._threads.add(thread)
                thread.start()
            if start.error is not None:
                # The system has no thread for it now; the next one may find one.
                client.close()
                with self._lock:
                    self._threads.discard(thread)

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, self._deadline.part() as deadline:
                client.settimeout(self._idle_seconds)
                deadline.watch(client)
                try:
                    if not self._places.acquire(blocking=False):
                        raise _RefusedError(503, "network")
                    try:
                        self._handle(client, deadline)
                    finally:
                        self._places.release()
                except _RefusedError as refused:
                    self._refuse(client, refused)
        except OSError as error:
            logger.debug("A connection of the proxy broke: %s", error)
        finally:
            if self._deadline.is_over and not self._closing:
                self.reasons.append("timeout")
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _handle(self, client: socket.socket, deadline: Deadline) -> None:
        head = _read_head(client)
        if head is None:
            return
        if not REQUEST_LINE.fullmatch(head.first_line):
            raise _RefusedError(400, "bad_request")
        self._authorize(head)
        method, target, _ = head.first_line.split(" ")
        if method == "CONNECT":
            host, port = _split_authority(target, default_port=None)
            with self._connect(host, port, deadline) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                server.sendall(head.rest)
                self._relay(client, server, until_client_ends=False)
            return
        url = urlsplit(target)
        if url.scheme.lower() != "http" or "@" in url.netloc:
            raise _RefusedError(400, "bad_request")
        host, port = _split_authority(url.netloc, default_port=80)
        length = _body_length(head)
        with self._connect(host, port, deadline) as server:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            server.sendall(_request(f"{method} {path} HTTP/1.1", head, url.netloc))
            _send_body(client, server, head.rest, length)
            self._answer(client, server)

    def _authorize(self, head: _Head) -> None:
        wanted = base64.b64encode(f"{USER}:{self._password}".encode()).decode()
        given = head.all_of("proxy-authorization")
        scheme, _, credentials = (given[0] if given else "").partition(" ")
        if scheme.lower() != "basic" or not secrets.compare_digest(
            credentials.strip().encode("latin-1", "replace"), wanted.encode()
        ):
            raise _RefusedError(407, "password")

    def _connect(self, host: str, port: int, deadline: Deadline) -> socket.socket:
        with self._lock:
            if self._bytes_left <= 0:
                raise _RefusedError(403, "too_large")
        try:
            server = self._policy.connect(host, port, deadline)
        except BlockedAddressError as error:
            raise _RefusedError(403, error.code) from error
        except TimeoutError as error:
            raise _RefusedError(504, "timeout") from error
        except OSError as error:
            raise _RefusedError(502, "network") from error
        server.settimeout(self._idle_seconds)
        return server

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        """Send an answer on, saying that the connection ends with it.

        A client that used it again would have its next request, which may be for
        another host, go to this one.
        """
        try:
            head = _read_head(server)
        except TimeoutError as error:
            raise _RefusedError(504, "timeout") from error
        except OSError as error:
            raise _RefusedError(502, "network") from error
        except _RefusedError as error:
            raise _RefusedError(502, "network") from error
        if head is None:
            raise _RefusedError(502, "network")
        headers = [
            (name, value)
            for name, value in _end_to_end(head)
            # This one is ours to send.
            if name.lower() != REASON_HEADER.lower()
        ]
        client.sendall(_written(head.first_line, [*headers, ("Connection", "close")]))
        if self._take(len(head.rest)):
            client.sendall(head.rest)
            self._relay(client, server, until_client_ends=True)

    def _relay(
        self, client: socket.socket, server: socket.socket, *, until_client_ends: bool
    ) -> None:
        """Send bytes on until both sides have ended, one is silent, or it is enough.

        Args:
            client: who asked.
            server: who answers.
            until_client_ends: the client has nothing more to say; its end is the end.
        """
        with selectors.DefaultSelector() as open_ends:
            open_ends.register(client, selectors.EVENT_READ, data=server)
            open_ends.register(server, selectors.EVENT_READ, data=client)
            while ready := open_ends.select(self._idle_seconds):
                for key, _ in ready:
                    source = server if key.data is client else client
                    data = source.recv(CHUNK_BYTES)
                    if source is server and not self._take(len(data)):
                        return
                    if not data and (source is server or until_client_ends):
                        return
                    if not data:
                        open_ends.unregister(client)
                        server.shutdown(socket.SHUT_WR)
                    elif source is server or not until_client_ends:
                        key.data.sendall(data)
        self.reasons.append("timeout")

    def _take(self, count: int) -> bool:
        """Count bytes of servers; False: they are too many."""
        with self._lock:
            self._bytes_left -= count
            if self._bytes_left >= 0:
                return True
        self.reasons.append("too_large")
        return False

    def _refuse(self, client: socket.socket, refused: _RefusedError) -> None:
        self.reasons.append(refused.reason)
        headers = [
            (REASON_HEADER, refused.reason),
            ("Content-Length", "0"),
            ("Connection", "close"),
        ]
        if refused.status == 407:
            headers.append(("Proxy-Authenticate", 'Basic realm="job"'))
        first_line = f"HTTP/1.1 {refused.status} {PHRASES[refused.status]}"
        client.sendall(_written(first_line, headers))
        # To close with bytes unread would take the answer back.
        client.shutdown(socket.SHUT_WR)
        client.settimeout(DRAIN_SECONDS)
        for _ in range(DRAIN_READS):
            if not client.recv(CHUNK_BYTES):
                return


def _read_head(connection: socket.socket) -> _Head | None:
    """Read to the end of the headers; None: the other side said nothing."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) > MAX_HEAD_BYTES:
            raise _RefusedError(400, "bad_request")
        chunk = connection.recv(CHUNK_BYTES)
        if not chunk and data:
            raise _RefusedError(400, "bad_request")
        if not chunk:
            return None
        data += chunk
    if end > MAX_HEAD_BYTES:
        raise _RefusedError(400, "bad_request")
    first_line, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        # A bare line end would let one header hide another.
        if (
            not colon
            or not re.fullmatch(r"[!-~]+", name)
            or re.search(r"[\r\n]", value)
        ):
            raise _RefusedError(400, "bad_request")
        headers.append((name, value.strip()))
    return _Head(first_line, headers, bytes(data[end + 4 :]))


def _split_authority(text: str, *, default_port: int | None) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+)(?::([0-9]{1,5}))?", text)
    if found is None:
        raise _RefusedError(400, "bad_request")
    port = int(found[2]) if found[2] else default_port
    if port is None or not 0 < port < 65_536:
        raise _RefusedError(400, "bad_request")
    return found[1].strip("[]"), port


def _body_length(head: _Head) -> int:
    """How many bytes of body a request has.

    Raises:
        _RefusedError: only those of the length that a request names are taken.
    """
    if head.all_of("transfer-encoding"):
        raise _RefusedError(501, "bad_request")
    lengths = set(head.all_of("content-length"))
    if not lengths:
        return 0
    text = lengths.pop()
    if lengths or not re.fullmatch(r"[0-9]{1,15}", text):
        raise _RefusedError(400, "bad_request")
    return int(text)


def _end_to_end(head: _Head) -> list[tuple[str, str]]:
    named = {
        name.strip().lower()
        for value in head.all_of("connection")
        for name in value.split(",")
    }
    return [
        (name, value)
        for name, value in head.headers
        if name.lower() not in HOP_BY_HOP | named
    ]


def _request(first_line: str, head: _Head, host: str) -> bytes:
    headers = [
        (name, value) for name, value in _end_to_end(head) if name.lower() != "host"
    ]
    return _written(first_line, [("Host", host), *headers, ("Connection", "close")])


def _written(first_line: str, headers: list[tuple[str, str]]) -> bytes:
    lines = [first_line, *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _send_body(
    client: socket.socket, server: socket.socket, begun: bytes, length: int
) -> None:
    data = begun[:length]
    while True:
        server.sendall(data)
        length -= len(data)
        if length <= 0:
            return
        data = client.recv(min(length, CHUNK_BYTES))
        if not data:
            raise _RefusedError(400, "bad_request")
