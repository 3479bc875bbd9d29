"""Whether an address is this machine's own, and what open mode asks of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from django.core.exceptions import ImproperlyConfigured


def is_loopback(host: str) -> bool:
    """Whether a host name or address can mean this machine only."""
    name = host.removeprefix("[").removesuffix("]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_open_mode(host: str, allowed_hosts: Iterable[str]) -> None:
    """Refuse to serve others than this machine without keys.

    Args:
        host: the address the web server listens on.
        allowed_hosts: names that requests may use. One that others know leads to a
            proxy, or to a page that turns a browser of this machine against us.

    Raises:
        ImproperlyConfigured: others could reach the service.
    """
    if not is_loopback(host):
        raise ImproperlyConfigured(
            "WHISPERHUB_OPEN_MODE: without keys the service may listen on this machine "
            f"only, and WHISPERHUB_HOST is {host}. Set it to 127.0.0.1, or turn open "
            "mode off."
        )
    known_outside = [name for name in allowed_hosts if not is_loopback(name)]
    if known_outside:
        raise ImproperlyConfigured(
            "WHISPERHUB_OPEN_MODE: without keys the service may have names of this "
            "machine only, and WHISPERHUB_ALLOWED_HOSTS has "
            f"{', '.join(known_outside)}. Leave it at its default, or turn open mode "
            "off."
        )
