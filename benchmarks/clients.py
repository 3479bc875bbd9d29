"""Clients of an HTTP server that keep their connections, all of them in one thread.

They share the machine with the server that they measure. So a request is made of bytes
that are ready, and of an answer only what must be read is read.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

END_OF_HEADERS: Final = b"\r\n\r\n"
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STATUS: Final = slice(9, 12)
READ_BYTES: Final = 2**18
# A server that says nothing for so long is not slow, it is broken.
SILENCE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Request:
    """What a client says, in full.

    Attributes:
        kind: what the figures of its answer belong to.
    """

    kind: str
    message: bytes


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes:
        seconds: from its first byte to the last one of the answer.
        status: of HTTP; 0: the server hung up.
        said: the answer's beginning, where it is none of success.
    """

    kind: str
    seconds: float
    status: int
    said: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the server did what it was asked."""
        return 200 <= self.status < 300


def message(method: str, address: str, *, body: bytes = b"", **headers: str) -> bytes:
    """A request as it goes over the line; underscores of a header's name are dashes."""
    lines = [f"{method} {address} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + END_OF_HEADERS + body


class _Client:
    """One connection, and what is to be said on it."""

    def __init__(self, port: int, requests: Iterator[Request]) -> None:
        self.requests = requests
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.request: Request | None = None

    def begin(self) -> bool:
        """Take up the next request; False: there is none."""
        self.request = next(self.requests, None)
        if self.request is None:
            return False
        self.unsent = memoryview(self.request.message)
        self.heard = bytearray()
        self.whole = 0
        self.began = time.perf_counter()
        return True

    def send(self) -> bool:
        """Send what the line takes; returns whether that was all."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        return not self.unsent

    def hear(self) -> Answer | None:
        """Read what has come; gives the answer once it is whole."""
        try:
            heard = self.socket.recv(READ_BYTES)
        except ConnectionError:
            heard = b""
        if not heard:
            return self._answer(0)
        self.heard += heard
        if not self.whole:
            end = self.heard.find(END_OF_HEADERS)
            length = LENGTH.search(self.heard, 0, end) if end >= 0 else None
            if length is None:
                return None
            self.whole = end + len(END_OF_HEADERS) + int(length[1])
        if len(self.heard) < self.whole:
            return None
        return self._answer(int(self.heard[STATUS]))

    def _answer(self, status: int) -> Answer:
        seconds = time.perf_counter() - self.began
        kind = self.request.kind if self.request is not None else ""
        answer = Answer(kind, seconds, status)
        if answer.is_success:
            return answer
        return Answer(kind, seconds, status, self.heard[:1000].decode("latin-1"))


def answers_to(port: int, clients: Iterable[Iterator[Request]]) -> Iterator[Answer]:
    """Have several clients ask at the same time, each one request after the other.

    Args:
        port: of a server on this machine.
        clients: what each asks; it leaves when there is no more.

    Raises:
        TimeoutError: no answer at all came for a while.
    """
    with selectors.DefaultSelector() as selector:
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        for client in [_Client(port, requests) for requests in clients]:
            if client.begin():
                selector.register(client.socket, both, client)
        while selector.get_map():
            ready = selector.select(SILENCE_SECONDS)
            if not ready:
                raise TimeoutError("The server does not answer.")
            for key, events in ready:
                client = key.data
                if events & selectors.EVENT_WRITE and client.send():
                    selector.modify(client.socket, selectors.EVENT_READ, client)
                if not events & selectors.EVENT_READ:
                    continue
                answer = client.hear()
                if answer is None:
                    continue
                yield answer
                if answer.status and client.begin():
                    selector.modify(client.socket, both, client)
                else:
                    selector.unregister(client.socket)
                    client.socket.close()
