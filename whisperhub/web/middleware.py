"""What our middlewares have in common: they work in both worlds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase


class TwoWayMiddleware:
    """A middleware of which neither sync nor async views pay for a thread switch.

    Subclasses give `answer` and `answer_async`.
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
        self.get_response: Any = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer one request."""
        return self.answer_async(request) if self.is_async else self.answer(request)

    def answer(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request in the thread of its view."""
        raise NotImplementedError

    async def answer_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request in the event loop."""
        raise NotImplementedError
