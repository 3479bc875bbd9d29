"""How the web process reads HTTP: uvicorn's way, with limits, and errors of our shape.

uvicorn takes an address and headers of any length into memory, and any number of
requests behind the one that it answers. It waits without limit for the end of a head
(slow loris) and for a client that does not read its answer, counts the trailers of a
body as headers, loses the body of a request that offers an upgrade, and answers what is
no HTTP at all with a line of text that has no request id. Bodies are the business of
`uploads.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any, Final

import httptools
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
)

from whisperhub.network.proxies import PEER
from whisperhub.web.connections import (
    LARGE_READ_BYTES,
    SMALL_BODY_BYTES,
    SMALL_READ_BYTES,
    BoundedReads,
    Connections,
    WriteDeadline,
    bound_kernel_buffer,
    hang_up,
)
from whisperhub.web.deferred import STOPPING
from whisperhub.web.problems import PROBLEM_FIELDS, problem_document
from whisperhub.web.request_id import FIELD, request_id_of

logger = logging.getLogger(__name__)

# A link of 2,048 characters in a query string, three bytes for each of them.
MAX_ADDRESS_BYTES: Final = 16_384
# As most front servers have it; browsers send some 2 KB with their cookies.
MAX_HEADER_BYTES: Final = 65_536
MAX_HEADERS: Final = 100
# Requests that a client sends before it has the answer to the one before: some hundred
# small ones. Their connection ends with that answer if they are more.
MAX_PIPELINED_BYTES: Final = 16_384
END_OF_HEAD: Final = b"\r\n\r\n"
# Programs do not agree on which of two counts.
SINGLE_HEADERS: Final = (b"authorization", b"content-type", b"host")
RETRY_SECONDS: Final = 2

NOT_HTTP: Final = "This is not a valid HTTP/1.1 request."
REFUSALS: Final = {
    HTTPStatus.BAD_REQUEST: ("bad_http", NOT_HTTP),
    HTTPStatus.REQUEST_URI_TOO_LONG: (
        "address_too_long",
        f"The address has more than {MAX_ADDRESS_BYTES:,} bytes.",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "headers_too_large",
        f"The headers are more than {MAX_HEADERS}, or longer than "
        f"{MAX_HEADER_BYTES:,} bytes.",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "too_many_connections",
        "Too many connections are open to this server, in all or from your address. "
        f"Close some, or try again in {RETRY_SECONDS} seconds.",
    ),
}

# Of this process.
connections = Connections()


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. `uvicorn --http whisperhub.web.protocol:LimitedHttpProtocol`.

    The parser is given one request at a time; what came behind it waits until it is
    answered.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Wait for nothing yet."""
        super().__init__(*args, **kwargs)
        self._refusal, self._refusal_detail = HTTPStatus.BAD_REQUEST, ""
        self._is_admitted = True
        self._address = ""
        # All requests of the process find it in their scope.
        self._stopping = self.app_state.setdefault(STOPPING, asyncio.Event())
        # Until the head of a request is complete.
        self._timer: asyncio.TimerHandle | None = None
        self._write_deadline: WriteDeadline
        # What came and was not given to the parser yet.
        self._waiting = b""
        # What the parser was given and has not told us of: the last bytes, the number.
        self._head_end = b""
        self._untold_bytes = 0
        self._header_bytes = 0
        # Of the request that is being read. Left of its body; None: it is in chunks.
        self._is_in_head = True
        self._body_bytes: int | None = 0
        # Of its body, and read until now.
        self._read_bytes = 0
        self._is_complete = True

    # --- The connection --------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        bound_kernel_buffer(transport)
        self._write_deadline = WriteDeadline(transport, settings.ANSWER_SECONDS)
        self._is_admitted = connections.add(self, self._address)
        self._begin_to_wait()
        transport.set_protocol(BoundedReads(self, self._most_bytes))

    def _most_bytes(self) -> int:
        """How much may be read at once.

        The rest of a body that is longer is read only when its view was asked.
        """
        is_agreed = self._read_bytes > SMALL_BODY_BYTES
        return LARGE_READ_BYTES if is_agreed else SMALL_READ_BYTES

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._write_deadline.stop()
        self._waiting = b""
        connections.remove(self, self._address)
        super().connection_lost(exc)

    def make_room(self) -> None:
        """Close this connection, which has no request under way, for another one."""
        if self.transport.get_write_buffer_size():
            hang_up(self.transport)
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """End with the server; answers that wait are sent as they are."""
        self._stopping.set()
        super().shutdown()

    def pause_writing(self) -> None:
        """Watch whether the peer reads."""
        super().pause_writing()
        self._write_deadline.start()

    def resume_writing(self) -> None:
        """The peer has read."""
        self._write_deadline.note_progress()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Go on with what came meanwhile."""
        super().on_response_complete()
        self._write_deadline.start()
        connections.set_idle(self)
        self._parse_waiting()

    # --- Reading ---------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        self._waiting += data
        self._parse_waiting()

    def _parse_waiting(self) -> None:
        """Give the parser what came, but nothing behind a request without its answer.

        uvicorn would keep any number of requests for later.
        """
        while self._waiting and not self.transport.is_closing():
            if self._is_answering():
                self._hold_back()
                return
            self._unset_keepalive_if_required()
            if self._is_complete:
                self._begin_to_wait()
                # Empty lines in front of a request are allowed.
                self._waiting = self._waiting.lstrip(b"\r\n")
            length = self._length_to_parse()
            piece, self._waiting = self._waiting[:length], self._waiting[length:]
            self._parse(piece)

    def _is_answering(self) -> bool:
        """Whether a request is here as a whole and its answer is not complete."""
        has_begun = self.cycle is not None and not self.cycle.response_complete
        return self._is_complete and has_begun

    def _hold_back(self) -> None:
        if len(self._waiting) > MAX_PIPELINED_BYTES:
            self.cycle.keep_alive = False
        if self.cycle.keep_alive:
            self.flow.pause_reading()
        else:
            # Read and dropped: some clients do not read before they have sent all.
            self._waiting = b""

    def _length_to_parse(self) -> int:
        """How much of what waits belongs to one request.

        Where a body in chunks ends only the parser knows: see `on_message_begin`.
        """
        if not self._is_in_head:
            left = self._body_bytes
            return len(self._waiting) if left is None else left
        found = (self._head_end + self._waiting).find(END_OF_HEAD)
        if found < 0:
            return len(self._waiting)
        return found + len(END_OF_HEAD) - len(self._head_end)

    def _parse(self, piece: bytes) -> None:
        self._untold_bytes += len(piece)
        if self._is_in_head:
            self._head_end = (self._head_end + piece)[1 - len(END_OF_HEAD) :]
        elif self._body_bytes is not None:
            self._body_bytes -= len(piece)
        try:
            self._feed(piece)
        except httptools.HttpParserError:
            if self._is_answering():
                self._hold_back()
            else:
                self.send_400_response("")
            return
        # A header or trailer that does not end is never shown to `on_header`.
        if self._untold_bytes > MAX_ADDRESS_BYTES + MAX_HEADER_BYTES:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.send_400_response("")

    def _feed(self, piece: bytes) -> None:
        """Give bytes to the parser.

        A request that offers another protocol is read again as one that does not. The
        parser would take its body for that protocol, and we speak none; Java's client,
        for one, offers HTTP/2 with each request.
        """
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            version = self.parser.get_http_version().encode()
            head = [
                b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)
            ]
            head += [
                b"%s: %s\r\n" % (name, value)
                for name, value in self.headers
                if name != b"upgrade"
            ]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"".join([*head, b"\r\n"]))

    # --- What the parser tells -------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin to count."""
        if self._is_answering():
            # Behind a body in chunks. The parser stops, and the connection will end
            # with the answer; a client has to send this request again.
            self.cycle.keep_alive = False
            raise ValueError
        super().on_message_begin()
        # Without --no-proxy-headers uvicorn replaces `client` by what is claimed.
        self.scope[PEER] = self.client  # type: ignore[typeddict-unknown-key]
        self._refusal, self._refusal_detail = HTTPStatus.BAD_REQUEST, ""
        self._header_bytes = 0
        self._is_complete = False

    def on_url(self, url: bytes) -> None:
        """Take a part of the address, unless it grows too long."""
        super().on_url(url)
        if len(self.url) > MAX_ADDRESS_BYTES:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless there are too many; drop a trailer."""
        self._header_bytes += len(name) + len(value)
        if self._is_in_head:
            super().on_header(name, value)
        if self._header_bytes > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Have the request answered, unless its head is ambiguous."""
        self._untold_bytes, self._head_end = 0, b""
        self._check_head()
        if self.parser.should_upgrade():
            return
        self._stop_waiting()
        if not self._is_admitted:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        headers = dict(self.headers)
        self._is_in_head = False
        self._read_bytes = 0
        self._body_bytes = (
            None
            if b"transfer-encoding" in headers
            else int(headers.get(b"content-length", 0))
        )
        connections.set_busy(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._untold_bytes = 0
        self._read_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here as a whole."""
        if self.parser.should_upgrade():
            return
        self._is_in_head = self._is_complete = True
        self._untold_bytes = self._read_bytes = 0
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """No protocol but HTTP is spoken here."""
        return False

    def _check_head(self) -> None:
        """Refuse what programs in front of us may understand in another way."""
        for single in SINGLE_HEADERS:
            if sum(name == single for name, _value in self.headers) > 1:
                self._refuse(
                    HTTPStatus.BAD_REQUEST,
                    f"The request has more than one header {single.decode().title()}. "
                    "Send one.",
                )
        encodings = [v.lower() for n, v in self.headers if n == b"transfer-encoding"]
        is_old = self.parser.get_http_version() == "1.0"
        if encodings and (encodings != [b"chunked"] or is_old):
            self._refuse(
                HTTPStatus.BAD_REQUEST,
                "The only Transfer-Encoding of this server is chunked, in HTTP/1.1. "
                "Send the body without another one.",
            )
        if self.parser.get_method() == b"CONNECT":
            self._refuse(
                HTTPStatus.BAD_REQUEST,
                "CONNECT is for proxies, and this server is not one.",
            )

    # --- Waiting and refusing --------------------------------------------------------

    def _begin_to_wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(
                settings.HEADER_SECONDS, self.transport.close
            )

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: HTTPStatus, detail: str = "") -> None:
        self._refusal, self._refusal_detail = status, detail
        # The parser stops, and the answer is sent below.
        raise ValueError(status)

    def send_400_response(self, msg: str) -> None:
        """Answer what could not be read, and hang up."""
        if not self._is_in_head and self.cycle.response_started:
            # An answer that was begun before the body had come.
            self.transport.close()
            return
        # What is no HTTP from its first byte on has none.
        request_id = request_id_of(self.headers or [])
        status = self._refusal
        code, detail = REFUSALS[status]
        logger.info("Refused a connection's request: %s", code)
        body = json.dumps(
            problem_document(
                status, code, self._refusal_detail or detail, request_id=request_id
            )
        ).encode()
        headers = [
            *PROBLEM_FIELDS,
            (b"content-length", str(len(body)).encode()),
            (FIELD, request_id.encode()),
            (b"connection", b"close"),
        ]
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
        lines = [b"%s: %s\r\n" % field for field in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()
        self._write_deadline.start()
