"""The id of a request: the client's or ours, in every answer and log line."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

HEADER = "X-Request-ID"
ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")

current_request_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id_from(given: str | None) -> str:
    """Keep the client's id if it is short and plain, else make one."""
    if given and ACCEPTABLE.fullmatch(given):
        return given
    return uuid.uuid4().hex


class RequestIdMiddleware:
    """Outermost middleware: sets the id for the request and returns it to the client.

    Works in both worlds, so that neither sync nor async views pay for a thread switch.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self,
        get_response: Callable[
            [HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]
        ],
    ) -> None:
        """Remember the next layer; called once by Django."""
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer one request under its id."""
        if self.is_async:
            return self.answer_async(request)
        # Not reset afterwards: Django logs a 4xx after the last middleware, and the
        # next request sets its own.
        current_request_id.set(request_id_from(request.headers.get(HEADER)))
        response = self.get_response(request)
        response.headers[HEADER] = current_request_id.get()  # type: ignore[union-attr]
        return response

    async def answer_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request under its id, in the event loop."""
        current_request_id.set(request_id_from(request.headers.get(HEADER)))
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        response.headers[HEADER] = current_request_id.get()
        return response
