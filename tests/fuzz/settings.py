"""Settings of a service that is fuzzed: nothing of it leaves this machine.

Links and callbacks of the fuzzer name any host there is. What else the service needs
comes in WHISPERHUB_* variables; see tests/fuzz/service.py.
"""

from __future__ import annotations

import socket
from typing import Any

from tests.support.network import is_local
from whisperhub.settings import *  # noqa: F403

_resolve = socket.getaddrinfo
_connect = socket.socket.connect


def _resolve_local(host: Any, *arguments: Any, **keywords: Any) -> Any:
    if host is not None and not is_local(socket.AF_INET, (host,)):
        raise socket.gaierror(socket.EAI_NONAME, "This name has no address.")
    return _resolve(host, *arguments, **keywords)


def _connect_local(self: socket.socket, address: Any) -> None:
    if not is_local(self.family, address):
        raise ConnectionRefusedError("This address is on another machine.")
    _connect(self, address)


socket.getaddrinfo = _resolve_local
socket.socket.connect = _connect_local  # type: ignore[assignment, method-assign]
