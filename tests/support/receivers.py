"""A real server that receives callbacks, and does with them what receivers do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.waiting import patient

READ_SECONDS = patient(10.0)


@dataclass(frozen=True)
class Received:
    """One request, complete."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Listens on loopback and notes each request before it behaves.

    Attributes:
        received: the requests, in order.
        closed: set when the receiver goes away; behaviours that wait look at it.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.received: list[Received] = []
        self.closed = threading.Event()
        self._next: deque[Behaviour] = deque()
        self._otherwise = answering(204)
        self._server = socket.create_server((host, port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=1"

    def then(self, *behaviours: Behaviour) -> None:
        """Behave so for the next requests, one after the other."""
        self._next.extend(behaviours)

    def always(self, behaviour: Behaviour) -> None:
        """Behave so for all requests that nothing else is said of."""
        self._otherwise = behaviour

    def behaviour_for(self, request: Received) -> Behaviour:
        """What a request meets; a receiver with a mind of its own decides otherwise."""
        return self._next.popleft() if self._next else self._otherwise

    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.received]

    def close(self) -> None:
        self.closed.set()
        try:
            # Wakes the thread that accepts, where closing alone does not.
            self._server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(READ_SECONDS)
        with connection:
            try:
                request = _read(connection)
                self.received.append(request)
                self.behaviour_for(request)(connection, self.closed)
            except (OSError, ValueError):
                return  # The other side went away, or spoke no HTTP.


Behaviour = Callable[[socket.socket, threading.Event], None]


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer at once; underscores in the names of headers stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    answer = "\r\n".join([*lines, "", ""]).encode() + body

    def behave(connection: socket.socket, closed: threading.Event) -> None:
        connection.sendall(answer)

    return behave


def silent(connection: socket.socket, closed: threading.Event) -> None:
    """Take the request and never answer."""
    closed.wait(READ_SECONDS)


def dripping(
    connection: socket.socket,
    closed: threading.Event,
    *,
    start: bytes = b"",
    pause_seconds: float = 0.1,
) -> None:
    """Send a good answer byte by byte, for ten seconds or more."""
    connection.sendall(start)
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100 + b"\r\n\r\n":
        connection.sendall(bytes([byte]))
        if closed.wait(pause_seconds):
            return


def a_byte_a_second(connection: socket.socket, closed: threading.Event) -> None:
    """Send a good answer, very slowly."""
    dripping(connection, closed, pause_seconds=1.0)


def dripping_body(connection: socket.socket, closed: threading.Event) -> None:
    """Answer at once, then send a body byte by byte."""
    dripping(
        connection, closed, start=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    )


def endless_redirect(connection: socket.socket, closed: threading.Event) -> None:
    """Name another address, in a body without an end."""
    connection.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n"
        b"Content-Length: 1000000000000\r\n\r\n"
    )
    while not closed.is_set():
        connection.sendall(b"x" * 65_536)


def hanging_up(connection: socket.socket, closed: threading.Event) -> None:
    """End the connection without a word."""


def _read(connection: socket.socket) -> Received:
    stream = connection.makefile("rb")
    method, path, _ = stream.readline().decode("ascii").split()
    headers: dict[str, str] = {}
    while (line := stream.readline().decode("latin-1").strip()) != "":
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    length = int(headers.get("content-length", "0"))
    body = stream.read(length)
    if len(body) < length:
        raise ValueError("The sender died in the middle.")
    return Received(method, path, headers, body)


@contextmanager
def running_receiver(*, port: int = 0) -> Iterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver(port=port)
    try:
        yield receiver
    finally:
        receiver.close()


class FlappingReceiver(Receiver):
    """Takes events for a moment, fails in one way or another for the next, and so on.

    Attributes:
        taken: the requests that it answered with 2xx.
    """

    PERIOD_SECONDS = 0.7
    # Long enough to be killed in.
    ANSWER_SECONDS = 0.02
    FAILURES = (answering(503), hanging_up, answering(429, Retry_After="1"))

    def __init__(self) -> None:
        self.taken: list[Received] = []
        super().__init__()

    def behaviour_for(self, request: Received) -> Behaviour:
        """By the moment: each failure has its turn."""

        def take(connection: socket.socket, closed: threading.Event) -> None:
            answering(204)(connection, closed)
            self.taken.append(request)

        self.closed.wait(self.ANSWER_SECONDS)
        period = int(time.monotonic() / self.PERIOD_SECONDS)
        return self.FAILURES[period // 2 % 3] if period % 2 else take


def unused_address() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}/hook"
