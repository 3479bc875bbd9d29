"""The one way out: every connection to a stranger's address is made here.

A link may name this machine, its neighbours or the cloud's metadata service, in many
spellings, by a redirect, or by a name server that answers differently each time. So the
name is resolved once, every answer is judged, and a judged address is dialled.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from whisperhub.network.addresses import (
    Address,
    Network,
    is_public,
    read_literal,
    unmapped,
)
from whisperhub.network.deadline import Deadline

logger = logging.getLogger(__name__)

BLOCKED_ADDRESS: Final = "blocked_address"
DEFAULT_PORTS: Final = frozenset({80, 443})
# For each address of a host; then the next one is tried.
CONNECT_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.1

# A family and an address as `socket.connect` takes it.
Answer = tuple[int, Any]
Resolver = Callable[[str, int], Sequence[Answer]]


class BlockedAddressError(Exception):
    """The policy does not allow this connection.

    No OSError: nothing that handles broken connections may take it for one.
    """

    code = BLOCKED_ADDRESS


@dataclass(frozen=True)
class AllowedHost:
    """A host name that may lead anywhere, at one port."""

    host: str
    port: int


@dataclass(frozen=True)
class AllowedNetwork:
    """Addresses that may be reached although they are not public.

    Attributes:
        port: at this port, whatever the list of ports says; None: at those of the list.
    """

    network: Network
    port: int | None = None


Allowed = AllowedHost | AllowedNetwork


def parse_allowed(text: str) -> tuple[Allowed, ...]:
    """Read a list such as `10.1.0.0/16, 192.168.7.9:9000, hooks.internal:8080`.

    A network may have a port too: `10.1.0.0/16:9000`.

    Raises:
        ValueError: an item is neither a network nor a host with a port.
    """
    return tuple(_parse_entry(item.strip()) for item in text.split(",") if item.strip())


def _parse_entry(item: str) -> Allowed:
    try:
        return AllowedNetwork(ipaddress.ip_network(item))
    except ValueError:
        pass
    host, colon, port = item.rpartition(":")
    try:
        return AllowedNetwork(ipaddress.ip_network(host.strip("[]")), _parse_port(port))
    except ValueError:
        pass
    if not colon or not re.fullmatch(r"[^\s/@:\[\]]+", host):
        raise ValueError(f"{item!r} is neither a network nor a host with a port.")
    return AllowedHost(_plain(host), _parse_port(port))


def parse_ports(text: str) -> frozenset[int]:
    """Read a list of ports and of ranges such as `80,443,8000-8999`.

    Raises:
        ValueError: an item is neither.
    """
    ports: set[int] = set()
    for item in text.split(","):
        first, dash, last = item.strip().partition("-")
        low = _parse_port(first)
        high = _parse_port(last) if dash else low
        ports.update(range(low, high + 1))
    return frozenset(ports)


def _parse_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text.strip()) or not 0 < int(text) < 65_536:
        raise ValueError(f"{text!r} is no port.")
    return int(text)


def _plain(host: str) -> str:
    """A host name as names are compared."""
    host = host.strip("[]").rstrip(".").lower()
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def look_up(host: str, port: int) -> Sequence[Answer]:
    """Ask the system for the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


@dataclass(frozen=True)
class Policy:
    """Which connections may be made; `configured_policy` is the one of the settings.

    Attributes:
        allowed: what may be reached although it is not public.
        ports: that may be reached at public addresses and in allowed networks.
        ca_file: authorities trusted in place of the usual ones; None: the usual.
        resolve: finds the addresses of a name; raises OSError when it has none.
    """

    allowed: tuple[Allowed, ...] = ()
    ports: frozenset[int] = DEFAULT_PORTS
    ca_file: Path | None = None
    resolve: Resolver = look_up

    def connect(self, host: str, port: int, deadline: Deadline) -> socket.socket:
        """Connect to a host by one of its addresses, if all of them may be reached.

        Args:
            host: a name or an address, in any spelling the system understands.
            port: 1 to 65535.
            deadline: shuts the connection when it is over. A look-up cannot be cut, but
                nobody waits for it any longer.

        Returns:
            A connected socket, watched by the deadline.

        Raises:
            BlockedAddressError: an address, or the port, is not allowed.
            TimeoutError: the deadline is over, or no address answered.
            OSError: the host has no address (socket.gaierror), or none took the call.
        """
        answers = self._answers(host, port, deadline)
        try:
            for _, address in answers:
                self._check(host, port, ipaddress.ip_address(address[0]))
        except BlockedAddressError:
            logger.warning("A connection to port %d was refused by the policy", port)
            raise
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "The name has no address")
        for family, address in answers:
            deadline.check()
            try:
                return _dial(family, address, deadline)
            except OSError as error:
                failure = error
        deadline.check()
        raise failure

    def check_text(self, host: str, port: int) -> None:
        """Judge what can be judged of a host without a look-up.

        Raises:
            BlockedAddressError: it is an address that may not be reached, or the port
                may not be.
        """
        address = read_literal(host)
        if address is not None:
            self._check(host, port, address)
        elif port not in self.ports and not self._names(host, port):
            raise BlockedAddressError

    def _answers(self, host: str, port: int, deadline: Deadline) -> Sequence[Answer]:
        literal = read_literal(host)
        if literal is not None:
            literal = unmapped(literal)
            family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
            return [(family, (str(literal), port))]
        try:
            host.encode("idna")
        except UnicodeError as error:
            # A label is empty or too long.
            raise socket.gaierror(socket.EAI_NONAME, "This is no name") from error
        return _within(deadline, lambda: self.resolve(host, port))

    def _check(self, host: str, port: int, address: Address) -> None:
        if not self._permits(host, port, unmapped(address)):
            raise BlockedAddressError

    def _permits(self, host: str, port: int, address: Address) -> bool:
        networks = [
            entry
            for entry in self.allowed
            if isinstance(entry, AllowedNetwork) and address in entry.network
        ]
        if self._names(host, port) or any(entry.port == port for entry in networks):
            return True
        if port not in self.ports:
            return False
        return is_public(address) or any(entry.port is None for entry in networks)

    def _names(self, host: str, port: int) -> bool:
        return AllowedHost(_plain(host), port) in self.allowed


def configured_policy() -> Policy:
    """The policy that the operator has set."""
    return Policy(
        allowed=settings.OUTGOING_ALLOWED,
        ports=settings.OUTGOING_PORTS,
        ca_file=settings.OUTGOING_AUTHORITIES,
    )


def _within(
    deadline: Deadline, find: Callable[[], Sequence[Answer]]
) -> Sequence[Answer]:
    """Do a look-up in a thread of its own, and wait for it while there is time."""
    answers: list[Sequence[Answer]] = []
    failures: list[OSError] = []
    done = threading.Event()

    def run() -> None:
        try:
            answers.append(find())
        except OSError as error:
            failures.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="look-up", daemon=True).start()
    while not done.wait(POLL_SECONDS):
        deadline.check()
    if not answers:
        raise failures[0] if failures else OSError("The look-up failed")
    return answers[0]


def _dial(family: int, address: Any, deadline: Deadline) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A limit of 0 would mean not to wait at all.
        connection.settimeout(min(CONNECT_SECONDS, deadline.remaining_seconds + 0.001))
        # Before it is connected, so that connecting is cut too.
        deadline.watch(connection)
        connection.connect(address)
        # A socket that was shut meanwhile looks connected.
        deadline.check()
    except BaseException:
        connection.close()
        raise
    return connection
