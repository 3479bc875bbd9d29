"""Waits for the ends of tasks: any number of waiters, no thread and no query for each.

All waiters of a process share one subscription to the broker's news, and one look at
the rows of all their tasks every few seconds, so that lost news delays an answer by
moments. A look runs in a thread of the caller's for as long as its query takes.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import uuid
from collections.abc import Collection
from typing import Any, Final
from weakref import WeakKeyDictionary

from transcription.models import TranscriptionTask
from transcription.services.events import CHANNEL
from whisperhub.redis import REDIS_ERRORS, new_async_client
from whisperhub.web.deferred import InThread

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
RECONNECT_SECONDS: Final = 1.0
# Ids in a statement; databases limit its parameters.
IDS_IN_STATEMENT: Final = 500


async def wait_until_ended(
    public_id: uuid.UUID, *, seconds: float, in_thread: InThread
) -> bool:
    """Wait for a task to end.

    Args:
        public_id: of the task.
        seconds: how long to wait at most.
        in_thread: runs a function in a thread that may keep a database connection.

    Returns:
        Whether it has ended, or was deleted.
    """
    loop = asyncio.get_running_loop()
    waiters = _by_loop.get(loop)
    if waiters is None:
        waiters = _by_loop[loop] = Waiters(in_thread)
    return await waiters.wait(public_id, seconds)


class Waiters:
    """Everybody in one event loop who waits for a task."""

    def __init__(self, in_thread: InThread) -> None:
        """Wait for nothing yet."""
        self._in_thread = in_thread
        self._events: dict[uuid.UUID, set[asyncio.Event]] = {}
        # Tasks to look at without delay: with a new waiter, or in the news.
        self._due: set[uuid.UUID] = set()
        self._has_due = asyncio.Event()
        self._background: dict[str, asyncio.Task[None]] = {}

    async def wait(self, public_id: uuid.UUID, seconds: float) -> bool:
        """Wait for one task; returns whether it has ended."""
        ended = asyncio.Event()
        self._events.setdefault(public_id, set()).add(ended)
        self._look_soon(public_id)
        self._keep_running()
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            others = self._events[public_id]
            others.discard(ended)
            if not others:
                del self._events[public_id]
        return True

    def _keep_running(self) -> None:
        """Start what runs in the background for as long as anybody waits."""
        for name, work in {"look": self._look, "listen": self._listen}.items():
            running = self._background.get(name)
            if running is None or running.done():
                # The first waiter's request id would be in its log lines otherwise.
                self._background[name] = asyncio.create_task(
                    work(), name=f"waiters: {name}", context=contextvars.Context()
                )

    def _look_soon(self, public_id: uuid.UUID) -> None:
        self._due.add(public_id)
        self._has_due.set()

    async def _look(self) -> None:
        """Look at the rows of all tasks now and then, and of those that are due."""
        clock = asyncio.get_running_loop().time
        next_look_at = clock() + LOOK_SECONDS
        while self._events:
            try:
                async with asyncio.timeout_at(next_look_at):
                    await self._has_due.wait()
            except TimeoutError:
                self._due.update(self._events)
                next_look_at = clock() + LOOK_SECONDS
            due = self._due & self._events.keys()
            self._due.clear()
            self._has_due.clear()
            try:
                ended = await self._in_thread(ended_among, due)
            except Exception:
                # An edge: waiters would wait in vain. The next look may do better.
                logger.exception("The tasks of %d waiters were not looked at", len(due))
                continue
            for public_id in ended:
                for event in self._events.get(public_id, ()):
                    event.set()

    async def _listen(self) -> None:
        """Look at tasks that the broker says have ended."""
        while self._events:
            try:
                client = new_async_client()
                async with client, client.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    await self._pass_on(subscription)
            except REDIS_ERRORS as error:
                logger.warning("No news of tasks: %s", error)
                await asyncio.sleep(RECONNECT_SECONDS)
            except Exception:
                # An edge: without news every answer would be late.
                logger.exception("News of tasks could not be read")
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _pass_on(self, subscription: Any) -> None:
        while self._events:
            message = await subscription.get_message(
                ignore_subscribe_messages=True, timeout=LOOK_SECONDS
            )
            if message is None:
                continue
            public_id = uuid.UUID(json.loads(message["data"])["id"])
            if public_id in self._events:
                self._look_soon(public_id)


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Waiters] = WeakKeyDictionary()


def ended_among(public_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of these tasks that have ended, or are gone."""
    ended, ids_in_order = set(public_ids), list(public_ids)
    for begin in range(0, len(ids_in_order), IDS_IN_STATEMENT):
        ids = ids_in_order[begin : begin + IDS_IN_STATEMENT]
        ended.difference_update(
            TranscriptionTask.objects.filter(public_id__in=ids)
            .exclude(status__in=TranscriptionTask.FINAL)
            .values_list("public_id", flat=True)
        )
    return ended
