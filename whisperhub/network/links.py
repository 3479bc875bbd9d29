"""What can be said of a link by its text alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import requests

LENGTH: Final = 2048
PORTS: Final = {"http": 80, "https": 443}


class Fault(StrEnum):
    """Why nothing can be fetched from a link, or sent to it."""

    TOO_LONG = "too_long"
    BAD_CHARACTERS = "bad_characters"
    UNUSABLE = "unusable"
    NOT_HTTP = "not_http"
    HAS_USER = "has_user"
    HAS_FRAGMENT = "has_fragment"


def fault_of(url: str, *, length: int = LENGTH) -> Fault | None:
    """Find the first fault of a link; None: a request can be made of it."""
    if len(url) > length:
        return Fault.TOO_LONG
    # Programs that split such an address do not agree on its host.
    if "\\" in url or any(c.isspace() or not c.isprintable() for c in url):
        return Fault.BAD_CHARACTERS
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        has_host = bool(parts.hostname) and parts.port != 0
        (_as_sent(url).hostname or "").encode("idna")
    except (ValueError, requests.RequestException):
        return Fault.UNUSABLE
    if parts.scheme not in PORTS or not has_host:
        return Fault.NOT_HTTP
    if "@" in parts.netloc:
        return Fault.HAS_USER
    if "#" in url:
        return Fault.HAS_FRAGMENT
    return None


def target_of(url: str) -> tuple[str, int]:
    """The host and port that a link without a fault leads to, as they are dialled."""
    parts = _as_sent(url)
    return parts.hostname or "", parts.port or PORTS[parts.scheme]


def name_in(url: str) -> str:
    """The last part of a link's path, unescaped; it may be empty or hold anything."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _as_sent(url: str) -> SplitResult:
    """The link as `requests` sends it: with the host as it will be looked up."""
    return urlsplit(str(requests.Request("GET", url).prepare().url))
