"""Which addresses belong to the internet, and not to somebody's inside."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What `is_global` alone lets through, or has let through in some release of Python:
# https://www.iana.org/assignments/iana-ipv4-special-registry/
IPV4_REFUSED: Final = [
    ipaddress.IPv4Network(text)
    for text in (
        "100.64.0.0/10",  # shared by customers of one provider
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4
    )
]
# Everything else is reserved, local, or carries an IPv4 address that nobody checked:
# https://www.iana.org/assignments/iana-ipv6-special-registry/
IPV6_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
IPV6_REFUSED: Final = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]


def is_public(address: Address) -> bool:
    """Whether a stranger may send us to this address."""
    address = unmapped(address)
    if isinstance(address, ipaddress.IPv4Address):
        return (
            address.is_global
            and not address.is_multicast
            and not address.is_reserved
            and not any(address in network for network in IPV4_REFUSED)
        )
    return (
        address.scope_id is None
        and address in IPV6_GLOBAL
        and not any(address in network for network in IPV6_REFUSED)
    )


def unmapped(address: Address) -> Address:
    """The IPv4 address that an IPv4-mapped one stands for; others as they are."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def read_literal(host: str) -> Address | None:
    """The address that a host is without asking a name server; None: it is a name.

    The system reads it, as it does when it connects: `127.1`, `0x7f.1`, `2130706433`
    and `0177.0.0.1` are addresses to it.
    """
    try:
        # A dot at the end makes a name absolute, and no other address of an address.
        found: Any = socket.getaddrinfo(
            host.strip("[]").rstrip("."),
            None,
            type=socket.SOCK_STREAM,
            flags=socket.AI_NUMERICHOST,
        )
    except (OSError, UnicodeError):
        return None
    return ipaddress.ip_address(found[0][4][0])
