"""Takes the bodies of requests in before Django, and refuses those that are too large.

Django reads the whole body before a view runs. This layer answers from Content-Length
alone, asks the view whether it would let a request in whose body has not come yet, cuts
a body that turns out longer than announced, gives up on one that does not come, bounds
the memory that all of them take, and has the file of a form on the disk when Django
begins.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from whisperhub.web.admission import LENGTH_HEADERS
from whisperhub.web.connections import SMALL_BODY_BYTES
from whisperhub.web.forms import (
    SCOPE_KEY,
    BodyMemory,
    Form,
    FormReader,
    RefusedError,
    free_bytes,
    request_too_large,
    storage_full,
)
from whisperhub.web.handler import Verdict
from whisperhub.web.languages import VARIES_BY, language_of_scope
from whisperhub.web.problems import PROBLEM_FIELDS, problem_document
from whisperhub.web.request_id import request_id_from

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
# A small body is waited for a moment before anybody is asked about it: most clients
# send it right behind the head, and would pay for being asked about.
MOMENT_SECONDS: Final = 1.0
# What all bodies that nobody was asked about may take in one process.
UNASKED_BYTES: Final = 8 * 2**20
# What a client may send that nobody knows: the form to sign in.
ANONYMOUS_BYTES: Final = 16 * 2**10
# Of a request whose body is here; its view looks at who sends it.
HAS_COME: Final = Verdict(is_known=True)


class ClientGoneError(Exception):
    """The client left before its body was complete."""


@dataclass(frozen=True, kw_only=True)
class BodyLimits:
    """What a body may come to.

    Attributes:
        max_file_bytes: largest file that may be uploaded, in a form; None: any that
            finds room.
        max_request_bytes: largest body of another kind, and most that the fields of a
            form may come to.
        max_memory_bytes: of all bodies that a process holds in memory at a time.
        min_free_bytes: what must stay free on the volume that takes the files.
        silence_seconds: how long a client may send nothing of a body it owes.
        upload_seconds: in which a form with a file must have come.
        body_seconds: in which any other body must have come.
    """

    max_file_bytes: int | None
    max_request_bytes: int
    max_memory_bytes: int
    min_free_bytes: int
    silence_seconds: float
    upload_seconds: float
    body_seconds: float

    def max_bytes(self, *, has_file: bool) -> tuple[int, RefusedError]:
        """How long a body may be, and what becomes of a longer one."""
        if not has_file:
            return self.max_request_bytes, request_too_large()
        largest = sys.maxsize if self.max_file_bytes is None else self.max_file_bytes
        # Boundaries, headers of parts and the fields stand beside the file.
        return largest + self.max_request_bytes, RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "file_too_large",
            format_lazy(
                _("The file is larger than the {size} this server takes."),
                size=readable(largest),
            ),
        )


class UploadGuard:
    """ASGI middleware around the whole application.

    Args:
        application: what answers the requests that pass. It finds the form of a
            request in its scope, any other body in one message.
        takes_file: whether the operation that a request is for may have a file.
        preflight: whether a request would be let in. Asked if its body does not come
            with its head, before more of the body is read.
        limits: of bodies.
    """

    def __init__(
        self,
        application: Application,
        *,
        takes_file: Callable[[Scope], bool],
        preflight: Callable[[Scope], Awaitable[Verdict]],
        limits: BodyLimits,
    ) -> None:
        """Wrap an application."""
        self.application = application
        self.takes_file = takes_file
        self.preflight = preflight
        self.limits = limits
        self.memory = BodyMemory(limits.max_memory_bytes)
        self.unasked_memory = BodyMemory(UNASKED_BYTES)

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
        body = Body(receive, self.limits, has_file=has_file)
        content = b""
        with self.memory.share() as take_memory:
            try:
                self._judge(length, has_file=has_file)
                verdict = await self._verdict_of(scope, body, length)
                if verdict.refusal is not None:
                    await _answer_early(scope, body, send, verdict.refusal)
                    return
                if not verdict.is_known:
                    body.limit_to(ANONYMOUS_BYTES, length, anonymous_too_large())
                if is_form:
                    form = await self._form(
                        content_type.decode("latin-1"), body, take_memory
                    )
                    scope = {**scope, SCOPE_KEY: form}
                else:
                    content = await _content_of(body, length, take_memory)
            except RefusedError as refused:
                await _refuse(scope, body, send, refused)
                return
            except ClientGoneError:
                return
            length_told = _with_length(scope["headers"], body.received)
            await self.application(
                {**scope, "headers": length_told}, _replayed(content, receive), send
            )

    async def _verdict_of(
        self, scope: Scope, body: Body, length: int | None
    ) -> Verdict:
        """Whether the rest of a body may be read, if there is any."""
        with self.unasked_memory.share() as take_memory:
            if await self._has_come(scope, body, length, take_memory):
                return HAS_COME
            # What has come meanwhile lies in that memory until the view has answered.
            verdict = await self.preflight(scope)
            if verdict.refusal is not None:
                body.forget()
            return verdict

    async def _has_come(
        self,
        scope: Scope,
        body: Body,
        length: int | None,
        take_memory: Callable[[int], None],
    ) -> bool:
        """Whether a body is here with the head of its request, or in a moment."""
        if _expects_continue(scope):
            # To ask for the body would invite it.
            return False
        if length is not None and length > SMALL_BODY_BYTES:
            return False
        return await body.comes_within(MOMENT_SECONDS, take_memory)

    def _judge(self, length: int | None, *, has_file: bool) -> None:
        """Refuse a body by what is announced of it.

        Raises:
            RefusedError: it is too long, or the disk has no room for it.
        """
        if length is None:
            return
        limit, refusal = self.limits.max_bytes(has_file=has_file)
        if length > limit:
            raise refusal
        if (
            has_file
            and length > SMALL_FORM_BYTES
            and free_bytes() < length + self.limits.min_free_bytes
        ):
            raise storage_full()

    async def _form(
        self, content_type: str, body: Body, take_memory: Callable[[int], None]
    ) -> Form | None:
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
                    max_fields_bytes=self.limits.max_request_bytes,
                    min_free_bytes=self.limits.min_free_bytes,
                    take_memory=take_memory,
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
        limits: of bodies.
        has_file: whether it is a form that may have a file.

    Attributes:
        receive: the server's.
        received: bytes that have come.
        owed: whether more may come.
    """

    def __init__(self, receive: Receive, limits: BodyLimits, *, has_file: bool) -> None:
        self.receive = receive
        self._max_bytes, self._too_long = limits.max_bytes(has_file=has_file)
        self._silence_seconds = limits.silence_seconds
        self._seconds = limits.upload_seconds if has_file else limits.body_seconds
        self._deadline = time.monotonic() + self._seconds
        # Came before anybody asked for it.
        self._ahead: list[bytes] = []
        self.received = 0
        self.owed = True

    def limit_to(
        self, max_bytes: int, length: int | None, refusal: RefusedError
    ) -> None:
        """Allow fewer bytes.

        Args:
            max_bytes: of the whole body.
            length: as announced, if it was.
            refusal: of a longer one.

        Raises:
            RefusedError: so many have come, or will.
        """
        self._max_bytes, self._too_long = max_bytes, refusal
        if max(length or 0, self.received) > max_bytes:
            raise refusal

    def forget(self) -> None:
        """Drop what has come."""
        self._ahead.clear()

    async def comes_within(
        self, seconds: float, take_memory: Callable[[int], None]
    ) -> bool:
        """Whether the body comes in this time, and in the memory that there is.

        What has come by then is kept.

        Raises:
            RefusedError: more came than may.
            ClientGoneError: the client left.
        """
        deadline = time.monotonic() + seconds
        while self.owed and self.received <= SMALL_BODY_BYTES:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await self.receive()
            except TimeoutError:
                return False
            block = self._take(message)
            self._ahead.append(block)
            try:
                take_memory(len(block))
            except RefusedError:
                return False
        return not self.owed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give each block that is not empty.

        Raises:
            RefusedError: more came than may, or it came too slowly.
            ClientGoneError: the client left.
        """
        ahead, self._ahead = self._ahead, []
        for block in ahead:
            if block:
                yield block
        while self.owed:
            left = self._deadline - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, min(self._silence_seconds, left))):
                    message = await self.receive()
            except TimeoutError:
                # A client that sends nothing has nothing on the way.
                self.owed = left < self._silence_seconds
                raise self._too_slow() from None
            if block := self._take(message):
                yield block

    def _take(self, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self.owed = message.get("more_body", False)
        block: bytes = message.get("body", b"")
        self.received += len(block)
        if self.received > self._max_bytes:
            raise self._too_long
        return block

    def _too_slow(self) -> RefusedError:
        if self.owed:
            detail = format_lazy(
                _(
                    "The request took longer than the {seconds} seconds in which it "
                    "must have come. Send it again over a faster connection."
                ),
                seconds=f"{self._seconds:g}",
            )
        else:
            detail = format_lazy(
                _(
                    "The upload stalled: no data arrived for {seconds} seconds. Send "
                    "it again."
                ),
                seconds=f"{self._silence_seconds:g}",
            )
        return RefusedError(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", detail)


async def _content_of(
    body: Body, length: int | None, take_memory: Callable[[int], None]
) -> bytes:
    """A body that is no form.

    Raises:
        RefusedError: it is not taken.
        ClientGoneError: the client left.
    """
    take_memory(length or 0)
    blocks = []
    async for block in body:
        if length is None:
            take_memory(len(block))
        blocks.append(block)
    return b"".join(blocks)


def anonymous_too_large() -> RefusedError:
    """The body of a client that nobody knows is too long."""
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "request_too_large",
        format_lazy(
            _("Without signing in, a request may have a body of {size} at most."),
            size=readable(ANONYMOUS_BYTES),
        ),
    )


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
    retry = []
    if refused.retry_seconds is not None:
        retry = [(b"retry-after", str(refused.retry_seconds).encode())]
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
                *retry,
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
    if body.owed and not _expects_continue(scope):
        await _drop_body(body.receive)
    await send({"type": "http.response.body", "body": b""})


def _expects_continue(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return bool(headers.get(b"expect", b"").lower() == b"100-continue")


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
    others = [(name, value) for name, value in headers if name not in LENGTH_HEADERS]
    return [*others, (b"content-length", str(length).encode())]


def readable(number: int) -> str:
    """A number of bytes for people: 2 GiB, 1.5 MiB."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:g} {unit}"
        amount = round(amount / 1024, 1)
    return f"{amount:g} TiB"
