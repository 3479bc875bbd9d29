"""Answers that wait for something, without a thread and without a database connection.

A sync view that submits work gives its response a `deferred`: what to wait for in the
event loop, and how to complete the response afterwards. `whisperhub.web.handler` does
both. Where another server runs Django, the response is sent as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol, TypeAlias

# Runs a function in one of the threads that answer requests and keep connections.
InThread: TypeAlias = Callable[..., Awaitable[Any]]

# Where the state of a server has the event of its stop: see `whisperhub.web.protocol`.
STOPPING: Final = "whisperhub.stopping"
ATTRIBUTE: Final = "deferred"


class Deferred(Protocol):
    """What a response waits for; made by a view for one response."""

    async def wait(self, in_thread: InThread) -> bool:
        """Wait for it in the event loop; may be cancelled at any moment.

        Args:
            in_thread: for the little that needs a thread, such as a query.

        Returns:
            Whether `finish` has something to add to the response.
        """

    def finish(self, response: Any) -> None:
        """Change the response to the complete answer; runs in a thread."""


def deferred_of(response: Any) -> Deferred | None:
    """What a response waits for, if anything."""
    found: Deferred | None = getattr(response, ATTRIBUTE, None)
    return found


async def ended_in_time(
    deferred: Deferred,
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    in_thread: InThread,
) -> bool | None:
    """Wait until the end of the work, of the client's patience, or of the server.

    Args:
        deferred: what to wait for.
        scope: of the request; its body has been read.
        receive: the server's.
        in_thread: see `Deferred.wait`.

    Returns:
        Whether the response can be finished; None: the client has gone.
    """
    work = asyncio.create_task(deferred.wait(in_thread))
    gone = asyncio.create_task(_disconnected(receive))
    waits: list[asyncio.Task[Any]] = [work, gone]
    stopping: asyncio.Event | None = scope.get("state", {}).get(STOPPING)
    if stopping is not None:
        waits.append(asyncio.create_task(stopping.wait()))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        return None if gone.done() else False
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
