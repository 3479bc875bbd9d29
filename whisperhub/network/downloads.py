"""One file from a stranger's server, whatever that server does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final, Protocol
from urllib.parse import urldefrag, urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError, SSLError

from whisperhub.network.deadline import Deadline
from whisperhub.network.egress import (
    BLOCKED_ADDRESS,
    CONNECT_SECONDS,
    BlockedAddressError,
    Policy,
)
from whisperhub.network.links import fault_of, name_in
from whisperhub.network.sessions import GuardedSession

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS: Final = 5
# Signed addresses of object stores are long, and no client typed them.
REDIRECT_LENGTH: Final = 8192
IDLE_SECONDS: Final = 30.0
# A server's pace is judged over so long.
PACE_SECONDS: Final = 60.0
CHUNK_BYTES: Final = 65_536
# What is meant for the host that it was given for.
CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
HEADERS: Final = {
    "User-Agent": "WhisperHub",
    "Accept": "*/*",
    # A few bytes of gzip can become gigabytes.
    "Accept-Encoding": "identity",
}

LONGEST_DISPOSITION: Final = 4096
# Those of RFC 8187; decoders of other names in Python are not all for text.
CHARSETS: Final = frozenset({"utf-8", "iso-8859-1"})

# By what the server answered; other refusals are `forbidden`.
CODES: Final = {404: "not_found", 408: "timeout", 410: "not_found", 429: "rate_limited"}
RETRYABLE: Final = frozenset(
    {
        "network",
        "interrupted",
        "timeout",
        "tls_failed",
        "rate_limited",
        "upstream_error",
    }
)


@dataclass(frozen=True)
class Download:
    """What came.

    Attributes:
        size_bytes: of the body.
        name: of the file as the server calls it, or the last part of the address; it
            may hold anything.
    """

    size_bytes: int
    name: str


class Sink(Protocol):
    """Takes what comes, block by block."""

    def write(self, block: bytes, /) -> object:
        """Add a block."""


class DownloadError(Exception):
    """The file did not come.

    Attributes:
        code: one of RETRYABLE, or blocked_address, not_found, forbidden, too_large,
            bad_redirect, bad_answer.
        http_status: what the server answered, if that is the reason.
        retry_after: that header of the answer as it stands; empty: none.
    """

    def __init__(
        self, code: str, http_status: int | None = None, *, retry_after: str = ""
    ) -> None:
        """Say why."""
        super().__init__(code)
        self.code = code
        self.http_status = http_status
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        """Whether another attempt may end better."""
        return self.code in RETRYABLE


def download(
    url: str,
    file: Sink,
    *,
    policy: Policy,
    deadline: Deadline,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
    idle_seconds: float = IDLE_SECONDS,
    min_bytes_per_second: float = 0.0,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> Download:
    """Get a file, following redirects.

    Args:
        url: without a fault that `links.fault_of` finds.
        file: takes the body.
        policy: where it may go, every redirect as well.
        deadline: for the whole.
        max_bytes: of the body.
        headers: sent besides ours; credentials among them to the first host only.
        idle_seconds: how long the server may send nothing.
        min_bytes_per_second: that the body must come with, over each minute.
        on_bytes: called as they come, with how many there are and how many there will
            be, if that is known. What it raises ends the download.

    Raises:
        DownloadError: the file did not come; some of it may have been written.
        OSError: it could not be written.
    """
    try:
        with GuardedSession(policy, deadline) as session:
            try:
                response = _follow(
                    session, url, {**HEADERS, **(headers or {})}, idle_seconds
                )
                with response, _interrupted_if_it_breaks_off():
                    size = _read(
                        response, file, max_bytes, min_bytes_per_second, on_bytes
                    )
            finally:
                # A connection that was cut can look like one that ended.
                deadline.check()
    except BlockedAddressError as error:
        raise DownloadError(BLOCKED_ADDRESS) from error
    except (requests.exceptions.SSLError, SSLError) as error:
        raise DownloadError("tls_failed") from error
    except (TimeoutError, requests.Timeout, ReadTimeoutError) as error:
        raise DownloadError("timeout") from error
    except (
        requests.ConnectionError,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise DownloadError("network") from error
    except requests.RequestException as error:
        # A header or an address that cannot be understood.
        raise DownloadError("bad_answer") from error
    except HTTPError as error:
        raise DownloadError("network") from error
    return Download(size, file_name(response))


@contextmanager
def _interrupted_if_it_breaks_off() -> Iterator[None]:
    """Tell a connection that breaks off from one that was never made."""
    try:
        yield
    except (ReadTimeoutError, SSLError):
        raise
    except HTTPError as error:
        raise DownloadError("interrupted") from error


def _follow(
    session: GuardedSession, url: str, headers: dict[str, str], idle_seconds: float
) -> requests.Response:
    """Ask until an answer is no redirect; the body of that one is yet to be read."""
    for _ in range(MAX_REDIRECTS + 1):
        response = session.get(
            url,
            headers=headers,
            timeout=(CONNECT_SECONDS, idle_seconds),
            allow_redirects=False,
            stream=True,
        )
        if response.status_code not in REDIRECTS:
            _check(response)
            return response
        # Its body may have no end.
        response.close()
        target = _target(url, response)
        if _origin(target) != _origin(url):
            session.cookies.clear()
            headers = {
                name: value
                for name, value in headers.items()
                if name.lower() not in CREDENTIALS
            }
        url = target
    raise DownloadError("bad_redirect")


def _target(url: str, response: requests.Response) -> str:
    location = response.headers.get("Location", "")
    # Headers are read as Latin-1; who does not escape an address writes UTF-8.
    raw = location.encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        target = urldefrag(urljoin(url, raw)).url
    except ValueError as error:
        raise DownloadError("bad_redirect") from error
    downgraded = url.lower().startswith("https:") and _origin(target)[0] != "https"
    if not raw or fault_of(target, length=REDIRECT_LENGTH) or downgraded:
        raise DownloadError("bad_redirect")
    return target


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _check(response: requests.Response) -> None:
    status = response.status_code
    retry_after = response.headers.get("Retry-After", "")
    try:
        if status >= 500:
            raise DownloadError("upstream_error", status, retry_after=retry_after)
        if status >= 400:
            code = CODES.get(status, "forbidden")
            raise DownloadError(code, status, retry_after=retry_after)
        if status != 200:
            raise DownloadError("bad_answer", status)
        if response.headers.get("Content-Encoding", "").strip().lower() not in {
            "",
            "identity",
        }:
            raise DownloadError("bad_answer")
    except DownloadError:
        response.close()
        raise


def _read(
    response: requests.Response,
    file: Sink,
    max_bytes: int,
    min_bytes_per_second: float,
    on_bytes: Callable[[int, int | None], None] | None,
) -> int:
    """Write the body, and return how many bytes it has."""
    raw = response.raw
    expected: int | None = raw.length_remaining
    if expected is not None and expected > max_bytes:
        raise DownloadError("too_large")
    received = 0
    judged, judged_at = 0, time.monotonic()
    while chunk := raw.read1(CHUNK_BYTES, decode_content=False):
        received += len(chunk)
        if received > max_bytes:
            raise DownloadError("too_large")
        file.write(chunk)
        if on_bytes is not None:
            on_bytes(received, expected)
        seconds = time.monotonic() - judged_at
        if seconds >= PACE_SECONDS:
            if received - judged < min_bytes_per_second * seconds:
                raise DownloadError("timeout")
            judged, judged_at = received, judged_at + seconds
    if expected is not None and received != expected:
        raise DownloadError("interrupted")
    return received


def file_name(response: requests.Response) -> str:
    """What a file is called, by its headers (RFC 6266) or its address."""
    header = response.headers.get("Content-Disposition", "")
    return _name_in(header) or name_in(response.url)


def _name_in(header: str) -> str:
    if len(header) > LONGEST_DISPOSITION:
        return ""
    message = Message()
    message["Content-Disposition"] = re.sub(r"[\r\n]+", " ", header)
    params: list[Any] = message.get_params(header="Content-Disposition") or []
    names = [value for name, value in params if name.lower() == "filename"]
    for value in names:
        if isinstance(value, tuple):
            # From `filename*`, which goes before `filename`: charset, language, text.
            charset, _, text = value
            if (charset or "utf-8").lower() in CHARSETS:
                raw: bytes = text.encode("latin-1", "replace")
                return raw.decode(charset or "utf-8", "replace")
    for value in names:
        if isinstance(value, str):
            try:
                return value.encode("latin-1").decode("utf-8")
            except UnicodeError:
                return value
    return ""
