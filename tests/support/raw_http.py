"""HTTP as bytes over a socket: what clients send that no library would."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from tests.support.waiting import patient

SECONDS = patient(20.0)


@dataclass(frozen=True)
class RawAnswer:
    """A server's answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def exchange(address: str, request: bytes) -> RawAnswer:
    """Send these bytes to the server at an address, and read one answer."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), SECONDS) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has heard enough, and answered.
        answer = read_answer(
            connection.makefile("rb"), is_head=request.startswith(b"HEAD ")
        )
    assert answer is not None, "The server hung up without an answer."
    return answer


def read_answer(reader: BinaryIO, *, is_head: bool = False) -> RawAnswer | None:
    """The next answer on a connection; None if the server has hung up."""
    first = reader.readline()
    if not first:
        return None
    status = int(first.split()[1])
    headers = {}
    while line := reader.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length")
    if is_head or status == 204:
        body = b""
    elif length is None and headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    else:
        body = reader.read(int(length)) if length else reader.read()
    return RawAnswer(status, headers, body)


def request_bytes(
    line: str | bytes,
    *headers: str | bytes,
    body: bytes = b"",
    host: str = "localhost",
) -> bytes:
    """A request with a length and a host, unless `headers` has its own."""
    given: Sequence[bytes] = [
        header if isinstance(header, bytes) else header.encode() for header in headers
    ]
    names = {header.partition(b":")[0].lower() for header in given}
    lines = [line if isinstance(line, bytes) else line.encode()]
    if b"host" not in names:
        lines.append(b"Host: " + host.encode())
    if body and not names & {b"content-length", b"transfer-encoding"}:
        lines.append(b"Content-Length: " + str(len(body)).encode())
    return b"\r\n".join([*lines, *given, b"", body])
