"""Real servers that files are fetched from, good ones and others."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme

from tests.support.receivers import Behaviour, Receiver, answering
from whisperhub.network.egress import AllowedNetwork, Policy

HEAD_OF_ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: "


class Upstream(Receiver):
    """A receiver that is asked for files, over TLS if it has a certificate."""

    def __init__(
        self, host: str = "127.0.0.1", certificate: Path | None = None
    ) -> None:
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        super().__init__(host)

    @property
    def origin(self) -> str:
        scheme = "https" if self._context else "http"
        return f"{scheme}://{self.host}:{self.port}"

    def policy(self, **values: Any) -> Policy:
        """A policy under which this server, and no other, may be reached."""
        address = ipaddress.ip_network(self.host)
        return Policy((AllowedNetwork(address, self.port),), **values)

    def _serve(self, connection: socket.socket) -> None:
        if self._context is not None:
            try:
                connection = self._context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
        super()._serve(connection)


@contextmanager
def running_upstream(
    host: str = "127.0.0.1", certificate: Path | None = None
) -> Iterator[Upstream]:
    upstream = Upstream(host, certificate)
    try:
        yield upstream
    finally:
        upstream.close()


def make_certificate(folder: Path, *names: str) -> Path:
    """Make a certificate with its authority in one file; its key lies beside it.

    Args:
        folder: for both files.
        names: the hosts and addresses it is for.
    """
    authority = trustme.CA()
    made = authority.issue_cert(*names)
    path = folder / "server.pem"
    chain = [*made.cert_chain_pems, authority.cert_pem]
    path.write_bytes(b"".join(part.bytes() for part in chain))
    made.private_key_pem.write_to_path(path.with_suffix(".key"))
    return path


def file(body: bytes, **headers: str) -> Behaviour:
    return answering(200, body, **headers)


def redirecting(location: str, status: int = 302) -> Behaviour:
    return answering(status, b"Go there.", Location=location)


def raw(*parts: bytes) -> Behaviour:
    """Send these bytes and hang up."""

    def behave(connection: socket.socket, closed: threading.Event) -> None:
        for part in parts:
            connection.sendall(part)

    return behave


def pouring(head: bytes, megabytes: int) -> Behaviour:
    """Send a body as fast as it is taken."""

    def behave(connection: socket.socket, closed: threading.Event) -> None:
        connection.sendall(head)
        for _ in range(megabytes):
            if closed.is_set():
                return
            connection.sendall(bytes(1_048_576))

    return behave


def dripping_forever(connection: socket.socket, closed: threading.Event) -> None:
    """Send a file byte by byte, without an end."""
    connection.sendall(HEAD_OF_ENDLESS)
    while not closed.wait(0.05):
        connection.sendall(b"x")


def dripping_headers(connection: socket.socket, closed: threading.Event) -> None:
    """Send headers byte by byte, without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not closed.wait(0.05):
        connection.sendall(b"x")
