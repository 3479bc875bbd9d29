"""Bounds what connections may hold: their number, what is read, unread answers."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from django.conf import settings

from whisperhub.network.addresses import unmapped

# What one customer of a provider has of IPv6.
IPV6_PREFIX: Final = 64
# Not sent, in the kernel; as much again may wait in the process.
UNSENT_BYTES: Final = 128 * 2**10
# No more of a body is read before its view was asked.
SMALL_BODY_BYTES: Final = 2**20
# Read at once. Of a body that nobody has agreed to, so little that hundreds of them are
# no burden: uvloop would take 256 KiB from each. Of any other as much as uvloop.
SMALL_READ_BYTES: Final = 32 * 2**10
LARGE_READ_BYTES: Final = 256 * 2**10
# As Linux and macOS number it; older Pythons have no name for it everywhere.
TCP_NOTSENT_LOWAT: Final = {"linux": 25, "darwin": 0x201}.get(sys.platform)


class Connection(Protocol):
    """What the registry needs of a connection."""

    def make_room(self) -> None:
        """Close it; no request is under way."""


class Connections:
    """All connections of one process.

    A connection without a request under way, be it new or kept alive, is closed when
    another one needs its place, the longest idle first. So clients that open
    connections and send nothing keep no one out.
    """

    def __init__(self) -> None:
        """Know of no connection yet."""
        self._count = 0
        self._by_client: Counter[str] = Counter()
        # In the order in which they became idle.
        self._idle: dict[Connection, None] = {}

    def add(self, connection: Connection, address: str) -> bool:
        """Count a new connection, and make room for it.

        Args:
            connection: it is idle until `set_busy`.
            address: of its peer; empty for a UNIX socket.

        Returns:
            Whether its requests may be answered: the process has room, and its client
            has not more connections than one may have.
        """
        self._count += 1
        has_room = self._count <= settings.MAX_CONNECTIONS
        if not has_room and self._idle:
            longest = next(iter(self._idle))
            self.set_busy(longest)
            longest.make_room()
            has_room = True
        self.set_idle(connection)
        if (client := client_of_address(address)) is None:
            return has_room
        self._by_client[client] += 1
        most = settings.MAX_CONNECTIONS_PER_CLIENT
        return has_room and (not most or self._by_client[client] <= most)

    def remove(self, connection: Connection, address: str) -> None:
        """Forget a connection that is closed."""
        self._count -= 1
        self.set_busy(connection)
        client = client_of_address(address)
        if client is not None:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def set_idle(self, connection: Connection) -> None:
        """Note that a connection has no request under way."""
        self._idle.setdefault(connection)

    def set_busy(self, connection: Connection) -> None:
        """Note that a connection has a request under way."""
        self._idle.pop(connection, None)


class BoundedReads(asyncio.BufferedProtocol):
    """Reads for another protocol, and no more at once than that one allows.

    Args:
        protocol: gets what was read, and everything else that happens.
        most_bytes: tells how much may be read now; LARGE_READ_BYTES at most.
    """

    # Of all connections: an event loop fills it and has it emptied in one go.
    _buffer: Final = memoryview(bytearray(LARGE_READ_BYTES))

    def __init__(
        self, protocol: asyncio.Protocol, most_bytes: Callable[[], int]
    ) -> None:
        self._protocol = protocol
        self._most_bytes = most_bytes

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what it reads."""
        return self._buffer[: self._most_bytes()]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        self._protocol.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._protocol.resume_writing()


def bound_kernel_buffer(transport: asyncio.Transport) -> None:
    """Have the kernel keep little of an answer that the peer does not read.

    By itself it takes megabytes for each connection. What is on its way to a peer that
    reads is not bounded by this, so distance costs no speed.
    """
    line = transport.get_extra_info("socket")
    is_tcp = line is not None and line.family in {socket.AF_INET, socket.AF_INET6}
    if is_tcp and TCP_NOTSENT_LOWAT is not None:
        line.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def hang_up(transport: asyncio.Transport) -> None:
    """Close a connection, and have the kernel drop what its peer has not read."""
    line = transport.get_extra_info("socket")
    if line is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class WriteDeadline:
    """Aborts a connection whose peer reads nothing of an answer for too long.

    What the peer has not read lies in memory, and closing a connection waits for it.

    Args:
        transport: of the connection.
        seconds: how long the peer may read nothing.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        # At the last look; more than can be once the peer has read since.
        self._unread_bytes = float("inf")

    def start(self) -> None:
        """Begin to watch, unless the peer has read all that was written."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._unread_bytes = self._transport.get_write_buffer_size()
            self._schedule()

    def note_progress(self) -> None:
        """The peer has read so much that more may be written."""
        self._unread_bytes = float("inf")

    def stop(self) -> None:
        """Watch no longer: the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        unread_bytes = self._transport.get_write_buffer_size()
        if unread_bytes and unread_bytes >= self._unread_bytes:
            hang_up(self._transport)
        elif unread_bytes:
            self._unread_bytes = unread_bytes
            self._schedule()


def client_of_address(address: str) -> str | None:
    """What the connections of an address are counted under.

    Returns:
        None for loopback, UNIX sockets and the proxies that we trust: they have
        connections for many.
    """
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return None
    if settings.TRUSTED_PROXIES.include(unmapped(read)):
        return None
    if isinstance(read, ipaddress.IPv6Address):
        if read.ipv4_mapped is None and not read.is_loopback:
            return str(ipaddress.ip_network((read, IPV6_PREFIX), strict=False))
        read = read.ipv4_mapped or read
    return None if read.is_loopback else str(read)
