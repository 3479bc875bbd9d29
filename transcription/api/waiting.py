"""Answers that wait for the end of a task without holding a thread.

One subscription per process serves all who wait; the row is looked at as well, so that
news lost on the way delays an answer by moments.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import redis.asyncio
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from redis.exceptions import RedisError

from transcription.models import TranscriptionTask
from transcription.services.events import CHANNEL
from whisperhub.broker import redis_url

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
RECONNECT_SECONDS: Final = 1.0


class EndOfTasks:
    """Wakes those who wait for tasks; one per event loop."""

    def __init__(self) -> None:
        """Wait for nothing yet."""
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._listener: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def news_of(self, public_id: uuid.UUID) -> AsyncIterator[asyncio.Event]:
        """An event that is set when this task is said to have ended."""
        event, name = asyncio.Event(), str(public_id)
        self._waiting[name].add(event)
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        try:
            yield event
        finally:
            self._waiting[name].discard(event)
            if not self._waiting[name]:
                del self._waiting[name]

    async def _listen(self) -> None:
        """Pass news on for as long as anybody waits."""
        while self._waiting:
            try:
                client = redis.asyncio.Redis.from_url(redis_url())
                async with client, client.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    await self._pass_on(subscription)
            except (RedisError, OSError) as error:
                logger.warning("No news of tasks: %s", error)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _pass_on(self, subscription: Any) -> None:
        while self._waiting:
            message = await subscription.get_message(
                ignore_subscribe_messages=True, timeout=LOOK_SECONDS
            )
            if message is None:
                continue
            for event in self._waiting.get(json.loads(message["data"])["id"], ()):
                event.set()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, EndOfTasks] = WeakKeyDictionary()


async def wait_until_finished(public_id: uuid.UUID, *, seconds: float) -> bool:
    """Wait for a task to end.

    Returns:
        Whether it has ended, or is gone.
    """
    loop = asyncio.get_running_loop()
    ends = _by_loop.setdefault(loop, EndOfTasks())
    deadline = loop.time() + seconds
    async with ends.news_of(public_id) as news:
        while True:
            if await sync_to_async(_has_finished)(public_id):
                return True
            left = deadline - loop.time()
            if left <= 0:
                return False
            news.clear()
            try:
                await asyncio.wait_for(news.wait(), min(LOOK_SECONDS, left))
            except TimeoutError:
                pass


def _has_finished(public_id: uuid.UUID) -> bool:
    return not (
        TranscriptionTask.objects.filter(public_id=public_id)
        .exclude(status__in=TranscriptionTask.FINAL)
        .exists()
    )


def waiting_view(view: Any, answer: Callable[..., Any], *, seconds: float) -> Any:
    """A view that submits a task, waits, and gives the answer or what it has so far.

    Args:
        view: a DRF view class; its 202 answers carry the id of the task to wait for.
        answer: called with request and id once the task has ended.
        seconds: how long to wait at most.
    """
    submit = view.as_view()

    @csrf_exempt
    async def respond(request: HttpRequest) -> HttpResponseBase:
        submitted: Any = await sync_to_async(submit)(request)
        if submitted.status_code != 202:
            return submitted  # type: ignore[no-any-return]
        public_id = uuid.UUID(str(submitted.data["id"]))
        if not await wait_until_finished(public_id, seconds=seconds):
            return submitted  # type: ignore[no-any-return]
        answered: HttpResponseBase = await sync_to_async(answer)(
            request, public_id=public_id
        )
        return answered

    # drf-spectacular and Django's checks look for the class here.
    respond.cls = view  # type: ignore[attr-defined]
    respond.view_class = view  # type: ignore[attr-defined]
    respond.initkwargs = {}  # type: ignore[attr-defined]
    return respond
