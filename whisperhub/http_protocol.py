"""How the web process reads HTTP: uvicorn's way, with limits, and errors of our shape.

uvicorn takes an address and headers of any length into memory, and answers what is no
HTTP at all with a line of text that has no request id.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
)

from whisperhub.problems import PROBLEM_JSON, problem_document
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

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._refusal = HTTPStatus.BAD_REQUEST
        self._header_bytes = 0

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

    def _refuse(self, status: HTTPStatus) -> None:
        self._refusal = status
        # The parser stops, and uvicorn asks for the answer below.
        raise ValueError(status)

    def send_400_response(self, msg: str) -> None:
        """Answer what could not be read, and hang up."""
        fields = getattr(self, "headers", [])
        request_id = request_id_of(fields)
        status = getattr(self, "_refusal", HTTPStatus.BAD_REQUEST)
        code, detail = REFUSALS[status]
        logger.info("Refused a connection's request: %s", code)
        body = json.dumps(
            problem_document(status, code, detail, request_id=request_id)
        ).encode()
        self.transport.write(
            b"".join(
                [
                    STATUS_LINE[status],
                    b"content-type: " + PROBLEM_JSON.encode() + b"\r\n",
                    b"content-length: " + str(len(body)).encode() + b"\r\n",
                    FIELD + b": " + request_id.encode() + b"\r\n",
                    b"connection: close\r\n\r\n",
                    body,
                ]
            )
        )
        self.transport.close()
