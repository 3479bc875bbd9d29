"""Takes the bodies of requests in before Django, and refuses those that are too large.

Django reads the whole body before a view runs. This layer answers from Content-Length
alone, asks the view whether it would take a large form, cuts a body that turns out
longer than announced, gives up on one that does not come, and has the file of a form on
the disk when Django begins.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from whisperhub.forms import (
    SCOPE_KEY,
    Form,
    FormReader,
    RefusedError,
    free_bytes,
    request_too_large,
    storage_full,
)
from whisperhub.languages import VARIES_BY, language_of_scope
from whisperhub.problems import PROBLEM_FIELDS, problem_document
from whisperhub.rehearsal import SCOPE_KEY as REHEARSAL_KEY
from whisperhub.rehearsal import Rehearsal
from whisperhub.request_id import request_id_from

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

FORM_TYPE: Final = b"multipart/form-data"
# Below this a form is never refused for want of space: its file is small, and what has
# none, such as a cancellation, must work on a full disk.
SMALL_FORM_BYTES: Final = 2**20
# A client that is still sending does not see an answer on a connection that is reset:
# so much of its body is read and dropped first.
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 64 * 2**20
NO_BODY: Final = (b"content-length", b"0")


class ClientGoneError(Exception):
    """The client left before its body was complete."""


class UploadGuard:
    """ASGI middleware around the whole application.

    Args:
        application: what answers the requests that pass. It finds the form of a
            request in its scope, any other body in one message. A request with a large
            form it gets twice, first as a rehearsal without the body.
        takes_file: whether the operation that a request is for may have a file.
        max_file_bytes: largest file that may be uploaded, in a form.
        max_request_bytes: largest body of another kind, and most that the fields of a
            form may come to.
        min_free_bytes: what must stay free on the volume that takes the files.
        silence_seconds: how long a client may send nothing of a body it owes.
    """

    def __init__(
        self,
        application: Application,
        *,
        takes_file: Callable[[Scope], bool],
        max_file_bytes: int,
        max_request_bytes: int,
        min_free_bytes: int,
        silence_seconds: float,
    ) -> None:
        """Wrap an application."""
        self.application = application
        self.takes_file = takes_file
        self.max_file_bytes = max_file_bytes
        self.max_request_bytes = max_request_bytes
        # Boundaries, headers of parts and the fields stand beside the file.
        self.max_form_bytes = max_file_bytes + max_request_bytes
        self.min_free_bytes = min_free_bytes
        self.silence_seconds = silence_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when its body is here, or refuse it."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"")
        is_form = content_type.partition(b";")[0].strip().lower() == FORM_TYPE
        has_file = is_form and self.takes_file(scope)
        length = _content_length(headers)
        body = Body(receive, self._limit(has_file), self.silence_seconds)
        try:
            self._judge(length, has_file=has_file)
            if has_file and (length is None or length > SMALL_FORM_BYTES):
                refusal = await self._rehearse(scope)
                if refusal is not None:
                    await _answer_early(scope, body, send, refusal)
                    return
            if is_form:
                form = await self._form(content_type.decode("latin-1"), body)
                scope = {**scope, SCOPE_KEY: form}
                content = b""
            else:
                content = b"".join([block async for block in body])
        except RefusedError as refused:
            await _refuse(scope, body, send, refused)
            return
        except ClientGoneError:
            return
        scope = {**scope, "headers": _with_length(scope["headers"], body.received)}
        await self.application(scope, _replayed(content, receive), send)

    async def _rehearse(self, scope: Scope) -> list[Message] | None:
        """Ask the application whether it would take this request's form.

        Returns:
            What it answers if not; None if it would.
        """
        rehearsal = Rehearsal()
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self.application(
            {
                **scope,
                REHEARSAL_KEY: rehearsal,
                "headers": [*_without_length(scope["headers"]), NO_BODY],
            },
            _replayed(b"", _nothing_more),
            keep,
        )
        return None if rehearsal.passed else answer

    def _judge(self, length: int | None, *, has_file: bool) -> None:
        """Refuse a body by what is announced of it.

        Raises:
            RefusedError: it is too long, or the disk has no room for it.
        """
        if length is None:
            return
        limit, refusal = self._limit(has_file)
        if length > limit:
            raise refusal
        if (
            has_file
            and length > SMALL_FORM_BYTES
            and free_bytes() < length + self.min_free_bytes
        ):
            raise storage_full()

    def _limit(self, has_file: bool) -> tuple[int, RefusedError]:
        """How long a body may be, and what becomes of a longer one."""
        if not has_file:
            return self.max_request_bytes, request_too_large()
        return self.max_form_bytes, RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "file_too_large",
            format_lazy(
                _("The file is larger than the {size} this server takes."),
                size=readable(self.max_file_bytes),
            ),
        )

    async def _form(self, content_type: str, body: Body) -> Form | None:
        """The form of a body; None for a body without a byte.

        Raises:
            RefusedError: it is not taken; nothing of it is left.
            ClientGoneError: likewise.
        """
        reader: FormReader | None = None
        try:
            async for block in body:
                reader = reader or FormReader(
                    content_type,
                    max_fields_bytes=self.max_request_bytes,
                    min_free_bytes=self.min_free_bytes,
                )
                await reader.feed(block)
            return None if reader is None else reader.finish()
        except BaseException:
            # The server's stop among them.
            if reader is not None:
                reader.discard()
            raise


class Body:
    """The bytes of a request as they come, as far as its limits go.

    Args:
        receive: the server's.
        limit: how many bytes may come, and what to raise for more.
        silence_seconds: how long nothing may come.

    Attributes:
        receive: the server's.
        received: bytes that have come.
        owed: whether more may come.
    """

    def __init__(
        self, receive: Receive, limit: tuple[int, RefusedError], silence_seconds: float
    ) -> None:
        self.receive = receive
        self._max_bytes, self._too_long = limit
        self._silence_seconds = silence_seconds
        self.received = 0
        self.owed = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give each block that is not empty.

        Raises:
            RefusedError: more came than may, or nothing for too long.
            ClientGoneError: the client left.
        """
        while self.owed:
            try:
                async with asyncio.timeout(self._silence_seconds):
                    message = await self.receive()
            except TimeoutError:
                # Who is silent has nothing on the way.
                self.owed = False
                raise RefusedError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "request_timeout",
                    _("Nothing of the request came for too long. Send it again."),
                ) from None
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self.owed = message.get("more_body", False)
            block = message.get("body", b"")
            self.received += len(block)
            if self.received > self._max_bytes:
                raise self._too_long
            if block:
                yield block


def _replayed(content: bytes, receive: Receive) -> Receive:
    """What the application receives: the body at once, then what the server says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return replay


async def _nothing_more() -> Message:
    """What a client says that waits for its answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def _refuse(scope: Scope, body: Body, send: Send, refused: RefusedError) -> None:
    headers = dict(scope["headers"])
    request_id = request_id_from(headers.get(b"x-request-id", b"").decode("latin-1"))
    language = language_of_scope(scope)
    with override(language):
        document = json.dumps(
            problem_document(
                refused.status,
                refused.code,
                str(refused.detail),
                request_id=request_id,
            )
        ).encode()
    logger.info("Refused %s: %s", scope["path"], refused.code)
    answer: list[Message] = [
        {
            "type": "http.response.start",
            "status": refused.status,
            "headers": [
                *PROBLEM_FIELDS,
                (b"content-language", language.encode()),
                (b"vary", ", ".join(VARIES_BY).encode()),
                (b"content-length", str(len(document)).encode()),
                (b"x-request-id", request_id.encode()),
            ],
        },
        {"type": "http.response.body", "body": document},
    ]
    await _answer_early(scope, body, send, answer)


async def _answer_early(
    scope: Scope, body: Body, send: Send, answer: list[Message]
) -> None:
    """Answer a request whose body was not read, or not to its end, and hang up."""
    start, *rest = answer
    closing = [*start["headers"], (b"connection", b"close")]
    await send({**start, "headers": closing})
    for message in rest:
        await send({**message, "more_body": True})
    # A client that waits for "100 Continue" has sent nothing and gets its answer at
    # once: asking for its body would invite it.
    expects = dict(scope["headers"]).get(b"expect", b"")
    if body.owed and expects.lower() != b"100-continue":
        await _drop_body(body.receive)
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


def _content_length(headers: MutableMapping[bytes, bytes]) -> int | None:
    value = headers.get(b"content-length", b"")
    return int(value) if value.isdigit() else None


def _with_length(
    headers: list[tuple[bytes, bytes]], length: int
) -> list[tuple[bytes, bytes]]:
    """Headers that tell how long a body was that came in chunks.

    Without it, what reads the body takes it for none.
    """
    if not any(name == b"transfer-encoding" for name, _value in headers):
        return headers
    return [*_without_length(headers), (b"content-length", str(length).encode())]


def _without_length(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    told = {b"transfer-encoding", b"content-length"}
    return [(name, value) for name, value in headers if name not in told]


def readable(number: int) -> str:
    """A number of bytes for people: 2 GiB, 1.5 MiB."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:g} {unit}"
        amount = round(amount / 1024, 1)
    return f"{amount:g} TiB"
