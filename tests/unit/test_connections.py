"""Which connections a process keeps, and when it gives one up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from whisperhub.web.connections import Connections, WriteDeadline, client_of_address

NEAR, FAR = "127.0.0.1", "203.0.113.7"


class Line:
    """A connection; `is_open` until it had to make room."""

    is_open = True

    def make_room(self) -> None:
        self.is_open = False


@pytest.fixture(autouse=True)
def limits(settings: Any) -> None:
    settings.MAX_CONNECTIONS = 3
    settings.MAX_CONNECTIONS_PER_CLIENT = 2


def test_the_one_that_is_idle_longest_makes_room():
    connections, lines = Connections(), [Line() for _ in range(4)]
    for line in lines[:3]:
        assert connections.add(line, NEAR)
    connections.set_busy(lines[0])

    assert connections.add(lines[3], NEAR)
    assert [line.is_open for line in lines] == [True, False, True, True]


def test_where_all_are_busy_a_new_one_is_refused():
    connections, lines = Connections(), [Line() for _ in range(3)]
    for line in lines:
        connections.add(line, NEAR)
        connections.set_busy(line)

    assert not connections.add(Line(), NEAR)
    assert all(line.is_open for line in lines)


def test_a_connection_that_was_closed_leaves_its_place():
    connections, lines = Connections(), [Line() for _ in range(3)]
    for line in lines:
        connections.add(line, NEAR)
        connections.set_busy(line)

    connections.remove(lines[1], NEAR)

    assert connections.add(Line(), NEAR)


def test_a_client_has_its_share():
    connections = Connections()

    admitted = [connections.add(Line(), FAR) for _ in range(3)]

    assert admitted == [True, True, False]


def test_a_share_is_free_again():
    connections, lines = Connections(), [Line() for _ in range(2)]
    for line in lines:
        connections.add(line, FAR)
    connections.remove(lines[0], FAR)

    assert connections.add(Line(), FAR)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        (FAR, FAR),
        ("::ffff:203.0.113.7", FAR),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        # A proxy on this machine speaks for many.
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
    ],
)
def test_what_connections_of_an_address_are_counted_under(address, client):
    assert client_of_address(address) == client


class Transport:
    """Holds what a peer has not read."""

    unread_bytes = 1000
    is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def get_extra_info(self, name: str) -> None:
        return None

    def abort(self) -> None:
        self.is_aborted = True


async def turns(count: int = 3) -> None:
    """Let timers that are due run."""
    for _ in range(count):
        await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("left_bytes", "has_resumed", "is_aborted"),
    [
        pytest.param(1000, False, True, id="nothing was read"),
        pytest.param(1000, True, False, id="as much was written as was read"),
        pytest.param(0, False, False, id="all was read"),
    ],
)
def test_a_peer_that_reads_nothing_is_hung_up_on(left_bytes, has_resumed, is_aborted):
    async def run() -> bool:
        transport: Any = Transport()
        deadline = WriteDeadline(transport, 0.001)
        deadline.start()
        transport.unread_bytes = left_bytes
        if has_resumed:
            deadline.note_progress()
            # One look more would find nothing read again.
            deadline._seconds = 60.0
        await turns()
        deadline.stop()
        return bool(transport.is_aborted)

    assert asyncio.run(run()) is is_aborted


def test_a_closed_connection_is_not_looked_at():
    async def run() -> bool:
        transport: Any = Transport()
        deadline = WriteDeadline(transport, 0.001)
        deadline.start()
        deadline.stop()
        await turns()
        return bool(transport.is_aborted)

    assert not asyncio.run(run())
