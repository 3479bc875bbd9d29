"""Who a request comes from: the peer, or whom a proxy that we trust names.

Anybody can write `X-Forwarded-For`. It is believed from the proxies of the setting
WHISPERHUB_TRUSTED_PROXIES only, and read from the right: each proxy adds the address
that it saw, so the first that is no proxy of ours is the client, and what stands before
it is the client's own claim.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from whisperhub.network.addresses import Address, Network, unmapped

logger = logging.getLogger(__name__)

# In the ASGI scope or the WSGI environ: whether a proxy has passed the request on.
FORWARDED: Final = "whisperhub.forwarded"
# In the ASGI scope: who holds the connection, whatever the server made of it.
PEER: Final = "whisperhub.peer"
# A word of the setting: proxies that reach us over a UNIX socket have no address.
UNIX: Final = "unix"
ADDRESSES: Final = "x-forwarded-for"
SCHEME: Final = "x-forwarded-proto"
# What proxies say of clients. We read two of them; nothing behind us reads any.
SAID_BY_PROXIES: Final = frozenset(
    {
        *("cf-connecting-ip", "fastly-client-ip", "forwarded", "true-client-ip"),
        *("via", "x-client-ip", "x-cluster-client-ip", "x-original-host"),
        *("x-original-url", "x-real-ip", "x-rewrite-url"),
    }
)
SAID_STARTS: Final = "x-forwarded-"


@dataclass(frozen=True)
class TrustedProxies:
    """The proxies that are believed.

    Attributes:
        networks: where they are.
        unix: whether a peer without an address is one.
    """

    networks: tuple[Network, ...] = ()
    unix: bool = False

    def __bool__(self) -> bool:
        return bool(self.networks) or self.unix

    def include(self, peer: Address | None) -> bool:
        """Whether this is one of them; None: a peer without an address."""
        if peer is None:
            return self.unix
        return any(peer in network for network in self.networks)


def parse_proxies(text: str) -> TrustedProxies:
    """Read a list such as `127.0.0.1, 10.0.0.0/8, unix`.

    Raises:
        ValueError: an item is no address, no network and not `unix`.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    networks = []
    for item in items:
        if item.lower() == UNIX:
            continue
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError:
            raise ValueError(
                f"{item!r} is no address or network of a proxy, such as 127.0.0.1 or "
                "10.0.0.0/8."
            ) from None
    return TrustedProxies(
        tuple(networks), unix=UNIX in {item.lower() for item in items}
    )


@dataclass(frozen=True)
class Origin:
    """Where a request comes from.

    Attributes:
        address: of the client; None: unknown, the peer has none.
        is_https: whether a trusted proxy has received it over TLS.
        is_forwarded: whether something has passed it on.
        is_believed: whether the peer is a trusted proxy.
    """

    address: Address | None
    is_https: bool = False
    is_forwarded: bool = False
    is_believed: bool = False


def is_said_by_proxies(name: str) -> bool:
    """Whether a header, in lower case, tells of the client on a proxy's word."""
    return name in SAID_BY_PROXIES or name.startswith(SAID_STARTS)


def origin_of(
    peer: str | None, said: Iterable[tuple[str, str]], trusted: TrustedProxies
) -> Origin:
    """Find the client of a request.

    Args:
        peer: the address at the other end of the connection; None or empty: none.
        said: the headers that proxies write, in their order, names in lower case.
        trusted: whom to believe.
    """
    nearest = _read(peer or "")
    lines = list(said)
    is_forwarded = bool(lines)
    if not trusted.include(nearest):
        return Origin(nearest, is_forwarded=is_forwarded)
    client = nearest
    for hop in reversed(_items(lines, ADDRESSES)):
        address = _read(hop)
        if address is None:
            # Not written by a proxy of ours, and so nothing before it either.
            break
        client = address
        if not trusted.include(address):
            break
    schemes = _items(lines, SCHEME)
    return Origin(
        client,
        is_https=bool(schemes) and all(item.lower() == "https" for item in schemes),
        is_forwarded=is_forwarded,
        is_believed=True,
    )


def _items(lines: list[tuple[str, str]], name: str) -> list[str]:
    values = [value for found, value in lines if found == name]
    return [item.strip() for value in values for item in value.split(",")]


def _read(text: str) -> Address | None:
    """An address as proxies write it: alone, with a port, in brackets."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::\d+)?", text)
    if bracketed:
        text = bracketed[1]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return unmapped(ipaddress.ip_address(text))
    except ValueError:
        return None


@dataclass
class ForwardedLayer:
    """An ASGI layer: those behind it find the client in the scope, and no claims.

    Headers with `_` in their names go too: Django reads `X_Forwarded_For` as the header
    with hyphens, which a proxy that replaces only that lets through.
    """

    app: Any
    trusted: TrustedProxies
    _has_warned: bool = field(default=False, init=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on with what is known of its client."""
        if scope["type"] in {"http", "websocket"}:
            scope = self._corrected(scope)
        await self.app(scope, receive, send)

    def _corrected(self, scope: Any) -> Any:
        kept, said = [], []
        for name, value in scope["headers"]:
            if is_said_by_proxies(text := name.decode("latin-1").lower()):
                said.append((text, value.decode("latin-1")))
            elif b"_" not in name:
                kept.append((name, value))
        client = scope.get(PEER) or scope.get("client") or ("", 0)
        origin = origin_of(client[0], said, self.trusted)
        if origin.is_forwarded and not origin.is_believed:
            self._warn(client[0])
        corrected = {
            **scope,
            "headers": kept,
            "client": (str(origin.address), client[1]) if origin.address else None,
            FORWARDED: origin.is_forwarded,
        }
        if origin.is_https:
            corrected["scheme"] = "https" if scope["type"] == "http" else "wss"
        return corrected

    def _warn(self, peer: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s sends headers of a proxy and is not in "
                "WHISPERHUB_TRUSTED_PROXIES, so what they say of clients is not "
                "believed. If it is your proxy, name it there. This is said once.",
                peer or "A peer without an address",
            )


def forwarded_environ(environ: dict[str, Any], trusted: TrustedProxies) -> None:
    """Correct the environ of a WSGI request in the same way."""
    said = []
    for key in [key for key in environ if key.startswith("HTTP_")]:
        name = key.removeprefix("HTTP_").replace("_", "-").lower()
        if is_said_by_proxies(name):
            said.append((name, str(environ.pop(key))))
    origin = origin_of(environ.get("REMOTE_ADDR"), said, trusted)
    environ["REMOTE_ADDR"] = str(origin.address or "")
    environ[FORWARDED] = origin.is_forwarded
    if origin.is_https:
        environ["wsgi.url_scheme"] = "https"
