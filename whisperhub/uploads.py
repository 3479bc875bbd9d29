"""Refuses bodies that are too large, or that the disk cannot take, before Django.

Django reads the whole body before a view runs. This layer answers from Content-Length
alone, and cuts a body that turns out longer than announced.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from whisperhub.languages import VARIES_BY, language_of_scope
from whisperhub.problems import status_title
from whisperhub.request_id import request_id_from

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Multipart boundaries and the other fields around the file.
FORM_OVERHEAD_BYTES: Final = 2**20
# The body spool and the upload cut out of it exist at the same time for a moment.
COPIES: Final = 2
# A client that is still sending does not see an answer on a connection that is reset:
# so much of its body is read and dropped first.
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 64 * 2**20


class UploadGuard:
    """ASGI middleware around the whole application.

    Args:
        application: what answers the requests that pass.
        max_bytes: largest file that may be uploaded.
        min_free_bytes: what must stay free on the volume that takes the bodies.
        folder: a folder on that volume.
    """

    def __init__(
        self,
        application: Application,
        *,
        max_bytes: int,
        min_free_bytes: int,
        folder: Path,
    ) -> None:
        """Wrap an application."""
        self.application = application
        self.max_file_bytes = max_bytes
        self.max_body_bytes = max_bytes + FORM_OVERHEAD_BYTES
        self.min_free_bytes = min_free_bytes
        self.folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        length = _content_length(scope)
        refusal = self._refusal(length)
        if refusal is not None:
            await self._refuse(scope, receive, send, *refusal)
            return
        await self._pass_counted(scope, receive, send)

    def _refusal(
        self, length: int | None
    ) -> tuple[HTTPStatus, str, str | Promise] | None:
        if length is None:
            return None
        if length > self.max_body_bytes:
            return self._too_large()
        # Small requests are never refused: cancelling must work on a full disk.
        if length > FORM_OVERHEAD_BYTES:
            needed = length * COPIES + self.min_free_bytes
            if shutil.disk_usage(self.folder).free < needed:
                return (
                    HTTPStatus.INSUFFICIENT_STORAGE,
                    "storage_full",
                    _("The server has no room for this upload. Try again later."),
                )
        return None

    def _too_large(self) -> tuple[HTTPStatus, str, str | Promise]:
        return (
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "file_too_large",
            format_lazy(
                _("The file is larger than the {size} this server takes."),
                size=readable(self.max_file_bytes),
            ),
        )

    async def _pass_counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0
        too_large = started = False

        async def counting_receive() -> Message:
            nonlocal received, too_large
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.max_body_bytes:
                    # Django drops what it has of a client that went away.
                    too_large = True
                    return {"type": "http.disconnect"}
            return message

        async def noting_send(message: Message) -> None:
            nonlocal started
            if too_large and not started:
                return
            started = True
            await send(message)

        await self.application(scope, counting_receive, noting_send)
        if too_large and not started:
            await self._refuse(scope, receive, send, *self._too_large())

    async def _refuse(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        status: HTTPStatus,
        code: str,
        detail: str | Promise,
    ) -> None:
        headers = dict(scope["headers"])
        request_id = request_id_from(
            headers.get(b"x-request-id", b"").decode("latin-1")
        )
        language = language_of_scope(scope)
        with override(language):
            body = json.dumps(
                {
                    "type": "about:blank",
                    "title": status_title(status),
                    "status": status,
                    "code": code,
                    "detail": str(detail),
                    "request_id": request_id,
                }
            ).encode()
        logger.info("Refused %s: %s", scope["path"], code)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/problem+json"),
                    (b"content-language", language.encode()),
                    (b"vary", ", ".join(VARIES_BY).encode()),
                    (b"content-length", str(len(body)).encode()),
                    (b"connection", b"close"),
                    (b"x-request-id", request_id.encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body, "more_body": True})
        # A client that waits for "100 Continue" has sent nothing and gets its answer at
        # once: asking for its body would invite it.
        if headers.get(b"expect", b"").lower() != b"100-continue":
            await _drop_body(receive)
        await send({"type": "http.response.body", "body": b""})


async def _drop_body(receive: Receive) -> None:
    deadline, dropped = time.monotonic() + LINGER_SECONDS, 0
    while dropped < LINGER_BYTES:
        try:
            message = await asyncio.wait_for(receive(), deadline - time.monotonic())
        except TimeoutError:
            return
        dropped += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def readable(number: int) -> str:
    """A number of bytes for people: 2 GiB, 1.5 MiB."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:g} {unit}"
        amount = round(amount / 1024, 1)
    return f"{amount:g} TiB"
