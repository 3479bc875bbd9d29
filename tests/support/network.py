"""Keeps tests on this machine: sockets reach loopback addresses and UNIX paths only.

And counts the sockets of this process.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

LOCAL_NAMES = frozenset({"localhost", ""})


class OutsideAccessError(AssertionError):
    """A test tried to reach another machine."""


def is_local(family: int, address: Any) -> bool:
    """Whether a socket of this family stays on this machine with this address."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = address[0]
    if isinstance(host, bytes):
        host = host.decode()
    if host in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def block_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every socket refuse addresses beyond this machine."""
    for name in ("connect", "connect_ex", "sendto"):
        _guard_method(monkeypatch, name)

    resolve = socket.getaddrinfo

    def resolve_local(host: Any, *args: Any, **kwargs: Any) -> Any:
        # Numbers need no resolver; a name would ask one.
        numeric = kwargs.get("flags", 0) & socket.AI_NUMERICHOST
        if host is not None and not numeric and not is_local(socket.AF_INET, (host,)):
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise OutsideAccessError(f"A test asked for {host!r}.") from None
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_local)


def _guard_method(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    original = getattr(socket.socket, name)

    def guarded(self: socket.socket, *args: Any) -> Any:
        if not is_local(self.family, args[-1]):
            raise OutsideAccessError(f"A test reached for {args[-1]!r}.")
        return original(self, *args)

    monkeypatch.setattr(socket.socket, name, guarded)


def open_sockets() -> int:
    """Those of this process; a database may open files of its own meanwhile."""
    return sum(is_socket(int(file.name)) for file in Path("/dev/fd").iterdir())


def is_socket(number: int) -> bool:
    """Whether a descriptor is one."""
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False  # The listing's own, closed by now.
