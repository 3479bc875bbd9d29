"""News of tasks over the broker's publish and subscribe: heard at once, or never.

Nothing depends on them: whoever waits looks at the row as well.
"""

from __future__ import annotations

import functools
import json
import logging
import uuid
from typing import Final

import redis

from transcription.services.hints import breaker
from whisperhub.broker import redis_url

logger = logging.getLogger(__name__)

CHANNEL: Final = "whisperhub:tasks"
SOCKET_SECONDS: Final = 3.0


@functools.cache
def _client() -> redis.Redis:
    client: redis.Redis = redis.Redis.from_url(
        redis_url(),
        socket_timeout=SOCKET_SECONDS,
        socket_connect_timeout=SOCKET_SECONDS,
    )
    return client


def announce_finished(public_id: uuid.UUID, status: str) -> None:
    """Tell those who wait that a task has ended; never raises for a broker away."""
    if breaker.is_open():
        return
    try:
        _client().publish(CHANNEL, json.dumps({"id": str(public_id), "status": status}))
    except (redis.RedisError, OSError) as error:
        breaker.trip()
        logger.warning("Task %s: its end was not announced (%s)", public_id, error)
