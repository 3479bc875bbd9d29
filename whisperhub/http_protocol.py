"""How the web process reads HTTP: uvicorn's way, with limits, and errors of our shape.

uvicorn takes an address and headers of any length into memory, waits for them without
limit (slow loris), and answers what is no HTTP at all with a line of text that has no
request id. The body is the business of `uploads.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
)

from whisperhub.deferred import STOPPING
from whisperhub.network.proxies import PEER
from whisperhub.problems import PROBLEM_FIELDS, problem_document
from whisperhub.request_id import FIELD, request_id_of

logger = logging.getLogger(__name__)

# A link of 2,048 characters in a query string, three bytes for each of them.
MAX_ADDRESS_BYTES: Final = 16_384
# As most front servers have it; browsers send some 2 KB with their cookies.
MAX_HEADER_BYTES: Final = 65_536
MAX_HEADERS: Final = 100

REFUSALS: Final = {
    HTTPStatus.BAD_REQUEST: ("bad_http", "This is no HTTP request."),
    HTTPStatus.REQUEST_URI_TOO_LONG: (
        "address_too_long",
        f"The address has more than {MAX_ADDRESS_BYTES:,} bytes.",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "headers_too_large",
        f"The headers are more than {MAX_HEADERS}, or longer than "
        f"{MAX_HEADER_BYTES:,} bytes.",
    ),
}


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. `uvicorn --http whisperhub.http_protocol:LimitedHttpProtocol`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Wait for nothing yet."""
        super().__init__(*args, **kwargs)
        # All requests of the process find it in their scope.
        self._stopping = self.app_state.setdefault(STOPPING, asyncio.Event())
        self._refusal = HTTPStatus.BAD_REQUEST
        self._header_bytes = 0
        # Until the head of a request is complete.
        self._timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End with the server; answers that wait are sent as they are."""
        self._stopping.set()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Take bytes in.

        A header that does not end is never shown to `on_header`.
        """
        super().data_received(data)
        if self._timer is None or self.transport.is_closing():
            return
        self._unread_bytes += len(data)
        if self._unread_bytes > MAX_ADDRESS_BYTES + MAX_HEADER_BYTES:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin to count, and wait for the rest of a head."""
        super().on_message_begin()
        # Without --no-proxy-headers uvicorn replaces `client` by what is claimed.
        self.scope[PEER] = self.client  # type: ignore[typeddict-unknown-key]
        self._refusal = HTTPStatus.BAD_REQUEST
        self._header_bytes = 0
        self._begin_to_wait()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address, unless it grows too long."""
        super().on_url(url)
        if len(self.url) > MAX_ADDRESS_BYTES:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless there are too many."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _begin_to_wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(
                settings.HEADER_SECONDS, self.transport.close
            )

    def _stop_waiting(self) -> None:
        self._unread_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: HTTPStatus) -> None:
        self._refusal = status
        # The parser stops, and uvicorn asks for the answer below.
        raise ValueError(status)

    def send_400_response(self, msg: str) -> None:
        """Answer what could not be read, and hang up."""
        # What is no HTTP from its first byte on has none.
        request_id = request_id_of(self.headers or [])
        status = self._refusal
        code, detail = REFUSALS[status]
        logger.info("Refused a connection's request: %s", code)
        body = json.dumps(
            problem_document(status, code, detail, request_id=request_id)
        ).encode()
        self.transport.write(
            b"".join(
                [
                    STATUS_LINE[status],
                    *(b"%s: %s\r\n" % field for field in PROBLEM_FIELDS),
                    b"content-length: " + str(len(body)).encode() + b"\r\n",
                    FIELD + b": " + request_id.encode() + b"\r\n",
                    b"connection: close\r\n\r\n",
                    body,
                ]
            )
        )
        self.transport.close()
