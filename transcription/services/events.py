"""News of tasks over the broker's publish and subscribe: heard at once, or never.

Nothing depends on them: whoever waits looks at the row as well.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from transcription.work.publishing import breaker
from whisperhub.edges import Edge, guarded
from whisperhub.redis import NEWS, REDIS_ERRORS, redis_client

logger = logging.getLogger(__name__)

CHANNEL: Final = "whisperhub:tasks"
STOP_CHANNEL: Final = "whisperhub:stop"
RECONNECT_SECONDS: Final = 1.0
LISTEN_SECONDS: Final = 1.0


def announce_finished(public_id: uuid.UUID, status: str) -> None:
    """Tell those who wait that a task has ended; never raises for a broker away."""
    _publish(CHANNEL, public_id, {"status": status})


def announce_stop(public_id: uuid.UUID) -> None:
    """Tell the worker of a running task to look whether it should go on."""
    _publish(STOP_CHANNEL, public_id, {})


def _publish(channel: str, public_id: uuid.UUID, news: dict[str, str]) -> None:
    if breaker.is_open():
        return
    try:
        redis_client(NEWS).publish(channel, json.dumps({"id": str(public_id), **news}))
    except REDIS_ERRORS as error:
        breaker.trip(error)
        logger.warning("Task %s: no news went out (%s)", public_id, error)


def _subscription() -> Any:
    client = redis_client(NEWS)
    return client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]


def listen_for_stops(look: Callable[[], None]) -> threading.Thread:
    """Call something whenever a running task is to stop, in a thread of its own.

    Without the broker the heartbeat looks by itself, somewhat later.
    """

    def listen() -> None:
        while True:
            with guarded(Edge.STOP_LISTENER):
                _listen(look)
            time.sleep(RECONNECT_SECONDS)

    thread = threading.Thread(target=listen, name="stops", daemon=True)
    thread.start()
    return thread


def _listen(look: Callable[[], None]) -> None:
    """Look at each news of a stop, until the broker is away."""
    try:
        with _subscription() as subscription:
            subscription.subscribe(STOP_CHANNEL)
            while True:
                if subscription.get_message(timeout=LISTEN_SECONDS) is not None:
                    with guarded(Edge.STOP_LISTENER, "at a look"):
                        look()
    except REDIS_ERRORS as error:
        logger.debug("No news of stops: %s", error)
