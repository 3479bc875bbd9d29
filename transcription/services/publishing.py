"""Sends messages to workers, and never makes anybody wait for a broker that is away."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

from celery import current_app
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from whisperhub.queues import queue

logger = logging.getLogger(__name__)

# After a failed publish the broker is left alone for a while: requests must not each
# wait for its time-out. The dispatcher sends what was held back.
QUIET_SECONDS: Final = 5.0

PUBLISH_ERRORS: Final = (KombuError, OperationalError, RedisError, OSError)


class _Breaker:
    """Keeps publishers off a broker that has just failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_until = 0.0

    def is_open(self) -> bool:
        with self._lock:
            return time.monotonic() < self._open_until

    def trip(self) -> None:
        with self._lock:
            self._open_until = time.monotonic() + QUIET_SECONDS

    def reset(self) -> None:
        with self._lock:
            self._open_until = 0.0


breaker = _Breaker()


def publish(
    task: str, *, args: list[Any], message_id: str, queue_name: str
) -> Exception | None:
    """Send one message to a Celery task by its name.

    Returns:
        Why it was not sent; None if it is on its way.
    """
    try:
        current_app.send_task(
            task,
            args=args,
            task_id=message_id,
            # A queue object: a model that is new here needs no configuration here.
            queue=queue(queue_name),  # type: ignore[arg-type]
        )
    except PUBLISH_ERRORS as error:
        breaker.trip()
        return error
    return None
