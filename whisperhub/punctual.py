"""Connections that must say in time what they want (slow loris)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Far above what browsers and libraries send.
MAX_HEAD_BYTES: Final = 64 * 2**10


class PunctualProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, with an end to waiting for the head of a request.

    Uvicorn waits for it without limit, and keeps all of it, on a new connection and on
    one that has begun its next request. The body is the business of `uploads.py`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Wait for nothing yet."""
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        super().on_message_begin()
        self._begin_to_wait()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; too many before the end of a head are a bad request."""
        super().data_received(data)
        if self._timer is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.logger.warning("A request with too long a head was refused.")
            self.send_400_response("The headers are too long.")

    def _begin_to_wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(
                settings.HEADER_SECONDS, self.transport.close
            )

    def _stop_waiting(self) -> None:
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
