"""Django as an ASGI application: sync views in threads that stay.

Django's own handler makes a thread for each request, and with it a connection to the
database, and passes a request back and forth between this thread and the event loop.
Here a sync view with all its middleware is one call, in one of a few threads that keep
their connections. Async views are answered as Django does it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, Final, TypeAlias

from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections, connections
from django.http import HttpResponseBase
from django.urls import Resolver404, resolve, set_script_prefix

from whisperhub.web.admission import PreflightHandler
from whisperhub.web.deferred import deferred_of, ended_in_time
from whisperhub.web.forms import FormRequest

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

# Django replaces an older connection before a request, and a broken one at once.
CONNECTION_SECONDS: Final = 60
# Of a body that is written at once.
PART_BYTES: Final = 64 * 2**10


@dataclass(frozen=True)
class Answer:
    """A response as ASGI has it: made in a thread, sent by the event loop."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @classmethod
    def of(cls, response: Any) -> Answer:
        """What a response that does not stream says."""
        headers = [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, value in response.items()
        ]
        headers += [
            (b"Set-Cookie", cookie.output(header="").encode("ascii").strip())
            for cookie in response.cookies.values()
        ]
        return cls(response.status_code, headers, response.content)

    def messages(self) -> Iterator[Any]:
        """What the server is told.

        A long body in parts, so that the server writes one when the client has read the
        one before; they are views of the one body, no copies.
        """
        yield {
            "type": "http.response.start",
            "status": self.status,
            "headers": self.headers,
        }
        part: bytes | memoryview = self.body
        for start in range(0, len(self.body), PART_BYTES):
            end = start + PART_BYTES
            if len(self.body) > PART_BYTES:
                part = memoryview(self.body)[start:end]
            more = end < len(self.body)
            yield {"type": "http.response.body", "body": part, "more_body": more}
        if not self.body:
            yield {"type": "http.response.body", "body": b""}

    async def send(self, send: Send) -> None:
        """Hand it to the server."""
        for message in self.messages():
            await send(message)


@dataclass(frozen=True)
class Verdict:
    """Whether a request would be let in.

    Attributes:
        refusal: the messages of the answer if not; None if it would.
        is_known: whether its sender is.
    """

    refusal: list[Any] | None = None
    is_known: bool = False


class Handler(ASGIHandler):
    """One for each web process.

    Args:
        threads: how many requests of sync views are answered at the same time. None
            waits for a client: `uploads.py` has taken its body in.
        strangers: how many requests without a key and without a session besides; 0:
            they share the threads of all. With threads of their own, a crowd of them
            waits for itself and not in front of others.
    """

    request_class = FormRequest

    def __init__(self, *, threads: int, strangers: int = 0) -> None:
        """Load the middleware for both kinds of views."""
        super().__init__()
        self._sync_handler = BaseHandler()
        self._sync_handler.load_middleware()
        self._preflight_handler = PreflightHandler()
        self._threads = _pool("web", threads)
        self._strangers = _pool("stranger", strangers) if strangers else self._threads

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or _leads_to_coroutine(scope):
            await super().__call__(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        # In a context of its own: its id and language are those of no other request.
        context = contextvars.copy_context()
        answered: Any = await asyncio.get_running_loop().run_in_executor(
            self._pool_of(scope),
            context.run,
            self._respond,
            scope,
            body,
        )
        if deferred_of(answered) is not None:
            answered = await self._completed(answered, context, scope, receive)
        if isinstance(answered, Answer):
            await answered.send(send)
        elif answered is not None:
            await self._stream(answered, send)

    async def preflight(self, scope: Any) -> Verdict:
        """Ask whether a request would be let in; its body need not be here."""
        return await asyncio.get_running_loop().run_in_executor(
            self._pool_of(scope), contextvars.copy_context().run, self._ask, scope
        )

    def _pool_of(self, scope: Any) -> ThreadPoolExecutor:
        return self._strangers if _is_stranger(scope) else self._threads

    def _ask(self, scope: Any) -> Verdict:
        preflight, response = self._preflight_handler.ask(scope)
        try:
            if preflight.is_passed:
                return Verdict(is_known=preflight.is_known)
            return Verdict(refusal=list(Answer.of(response).messages()))
        finally:
            response.close()

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    async def _completed(
        self,
        response: Any,
        context: contextvars.Context,
        scope: Any,
        receive: Receive,
    ) -> Answer | None:
        """The answer of a response that waits; None: the client has gone."""
        try:
            ended = await ended_in_time(
                response.deferred, scope, receive, self._in_thread
            )
        except BaseException:
            # The server's stop among them.
            self._threads.submit(response.close)
            raise
        answer: Answer | None = await self._in_thread(
            context.run, self._finish, response, ended
        )
        return answer

    def _finish(self, response: Any, ended: bool | None) -> Answer | None:
        """Complete a response that has waited, and close it; in a thread."""
        try:
            if ended is None:
                return None
            if ended:
                # Another request may have left a connection that has become old.
                close_old_connections()
                response.deferred.finish(response)
            return Answer.of(response)
        finally:
            response.close()

    async def _stream(self, response: HttpResponseBase, send: Send) -> None:
        async with ThreadSensitiveContext():
            try:
                await self.send_response(response, send)
            finally:
                await sync_to_async(response.close)()

    def _respond(self, scope: Any, body: IO[bytes]) -> Answer | HttpResponseBase:
        """All of a request that Django sees; in a thread.

        Returns:
            The answer; a response that streams or waits is still to be sent and closed.
        """
        with body:
            set_script_prefix(get_script_prefix(scope))
            signals.request_started.send(sender=type(self), scope=scope)
            request, refusal = self.create_request(scope, body)
            response: Any = refusal
            if request is not None:
                response = self._sync_handler.get_response(request)
            response._handler_class = type(self)
            if response.streaming:
                return response  # type: ignore[no-any-return]
            if request is not None and deferred_of(response) is not None:
                # Nobody reads its files any more, and others need the descriptors.
                request.close()
                return response  # type: ignore[no-any-return]
            try:
                return Answer.of(response)
            finally:
                response.close()


def _pool(name: str, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, name, initializer=_keep_connections)


def _keep_connections() -> None:
    """Have the connections of this thread outlive a request.

    No setting: it would hold for other processes too, and for the threads of async
    views, which end with their request and would leave a connection behind each.
    """
    for connection in connections.all():
        connection.settings_dict = {
            **connection.settings_dict,
            "CONN_MAX_AGE": CONNECTION_SECONDS,
        }


def takes_file(scope: Any) -> bool:
    """Whether a request is for an operation with a file (`file_actions` of its view).

    Args:
        scope: of ASGI, for HTTP.
    """
    function = _function_of(scope)
    action = scope["method"].lower()
    # Of a view set, addresses lead to its actions by the method.
    action = getattr(function, "actions", {}).get(action, action)
    return action in getattr(getattr(function, "cls", None), "file_actions", ())


def _is_stranger(scope: Any) -> bool:
    """Whether a request shows neither a key nor a session, be they good or not."""
    if settings.OPEN_MODE:
        return False
    session = settings.SESSION_COOKIE_NAME.encode() + b"="
    return not any(
        name == b"authorization" or (name == b"cookie" and session in value)
        for name, value in scope["headers"]
    )


def _leads_to_coroutine(scope: Any) -> bool:
    return iscoroutinefunction(_function_of(scope))


def _function_of(scope: Any) -> Any:
    """What Django calls for an address; None: nothing."""
    path = scope["path"].removeprefix(get_script_prefix(scope).rstrip("/"))
    try:
        return resolve(path or "/").func
    except Resolver404:
        return None
