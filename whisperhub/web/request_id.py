"""The id of a request: the client's or ours, in every answer and log line."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

from django.http import HttpRequest, HttpResponseBase

from whisperhub.web.middleware import TwoWayMiddleware
from whisperhub.web.problems import PROBLEM_FIELDS, problem_document

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
FIELD: Final = HEADER.lower().encode()
ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

current_request_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id_from(given: str | None) -> str:
    """Keep the client's id if it is short and plain, else make one."""
    if given and ACCEPTABLE.fullmatch(given):
        return given
    return uuid.uuid4().hex


def named_by_request() -> dict[str, str]:
    """The column of a row whose work begins anew, if a request wants that."""
    request_id = current_request_id.get()
    return {"request_id": request_id} if request_id else {}


def request_id_of(fields: list[tuple[bytes, bytes]]) -> str:
    """The id of a request with these header fields, their names in lower case."""
    given = [value for name, value in fields if name == FIELD]
    # Two ids are none: programs do not agree on which of them counts.
    return request_id_from(given[0].decode("latin-1") if len(given) == 1 else None)


class RequestIdLayer:
    """Outermost ASGI layer: no answer and no log line of a request is without its id.

    What is inside finds the same id in the request's header. An error that nobody
    caught is answered here, in the one shape of errors.
    """

    def __init__(self, application: Application) -> None:
        """Wrap an application."""
        self.application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request under its id."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        current_request_id.set(request_id)
        named = (FIELD, request_id.encode())
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                fields = [
                    field for field in message["headers"] if field[0].lower() != FIELD
                ]
                message = {**message, "headers": [*fields, named]}
            await send(message)

        fields = [field for field in scope["headers"] if field[0] != FIELD]
        try:
            await self.application(
                {**scope, "headers": [*fields, named]}, receive, send_named
            )
        except Exception:
            if started:
                raise
            logger.exception("No answer to %s", scope["path"])
            await send_problem(
                send_named,
                500,
                "internal_error",
                "The server failed on this request. Its log has the request id.",
            )


async def send_problem(send: Send, http_status: int, code: str, detail: str) -> None:
    """Answer the current request with an error."""
    document = problem_document(
        http_status, code, detail, request_id=current_request_id.get()
    )
    body = json.dumps(document).encode()
    await send(
        {
            "type": "http.response.start",
            "status": http_status,
            "headers": [
                *PROBLEM_FIELDS,
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


class RequestIdMiddleware(TwoWayMiddleware):
    """Outermost middleware: sets the id for the request and returns it to the client.

    Behind `RequestIdLayer` it finds that layer's id; Django without it has one, too.
    """

    def answer(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request under its id."""
        # Not reset afterwards: Django logs a 4xx after the last middleware, and the
        # next request sets its own.
        current_request_id.set(request_id_from(request.headers.get(HEADER)))
        response: HttpResponseBase = self.get_response(request)
        response.headers[HEADER] = current_request_id.get()
        return response

    async def answer_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request under its id, in the event loop."""
        current_request_id.set(request_id_from(request.headers.get(HEADER)))
        response: HttpResponseBase = await self.get_response(request)
        response.headers[HEADER] = current_request_id.get()
        return response
