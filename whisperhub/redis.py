"""Every connection to Redis that Celery does not make: policies, clients, the breaker.

Only this module imports redis-py. Nothing durable is in Redis, so whoever asks can do
without an answer: `REDIS_ERRORS` are caught at each call, and `CircuitBreaker` spares
the next ones the wait.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from whisperhub.broker import redis_url

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What a call raises while Redis is away.
REDIS_ERRORS: Final = (redis.RedisError, OSError)
# After a failure Redis is left alone for a while: requests must not each wait for its
# time-out.
QUIET_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Policy:
    """How long a call waits for Redis, and how often a cut connection is made again.

    Attributes:
        timeout_seconds: to connect, and again for the answer.
        retries: at once, where a restart of Redis has cut the connection; a silent one
            costs no more than its time-out. None: as redis-py has it, with pauses.
    """

    timeout_seconds: float
    retries: int | None = None


# Requests wait for what is counted.
COUNTING: Final = Policy(0.5, retries=1)
# News of tasks, and looks at the queues.
NEWS: Final = Policy(3.0)
# Whether a server is there at all; whoever asks will ask again.
PROBING: Final = Policy(2.0, retries=0)


def redis_client(policy: Policy) -> redis.Redis:
    """The connections of this process that follow a policy."""
    return _shared_client(redis_url(), policy)


@functools.lru_cache(maxsize=8)
def _shared_client(url: str, policy: Policy) -> redis.Redis:
    return _new_client(url, policy)


def _new_client(url: str, policy: Policy) -> redis.Redis:
    options: dict[str, Any] = {
        "socket_timeout": policy.timeout_seconds,
        "socket_connect_timeout": policy.timeout_seconds,
    }
    if policy.retries is not None:
        options["retry"] = Retry(
            NoBackoff(), policy.retries, supported_errors=(redis.ConnectionError,)
        )
    made: redis.Redis = redis.Redis.from_url(url, **options)
    return made


def new_async_client() -> redis.asyncio.Redis:
    """A client for one event loop; its maker closes it."""
    made: redis.asyncio.Redis = redis.asyncio.Redis.from_url(redis_url())
    return made


def is_there(url: str) -> bool:
    """Whether the Redis at a URL answers, and has read its data."""
    client = _new_client(url, PROBING)
    try:
        return bool(client.ping())
    except REDIS_ERRORS:
        return False
    finally:
        client.close()


def run_script(script: str, *, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run a script in Redis, in one round trip, under the policy for counting.

    Raises:
        RedisError, OSError: Redis is away, or the script failed.
    """
    return _registered(redis_url(), script)(keys=keys, args=args)


@functools.lru_cache(maxsize=16)
def _registered(url: str, script: str) -> Any:
    # Sent by its digest, and whole where Redis does not know it.
    return _shared_client(url, COUNTING).register_script(script)


class CircuitBreaker:
    """Keeps one kind of call off a Redis that has just failed.

    Args:
        consequence: what holds meanwhile, for the log.
    """

    def __init__(self, consequence: str) -> None:
        """Let calls through."""
        self._consequence = consequence
        self._lock = threading.Lock()
        self._open_until = 0.0

    def is_open(self) -> bool:
        """Whether Redis is left alone now."""
        with self._lock:
            return time.monotonic() < self._open_until

    def trip(self, error: Exception) -> None:
        """Leave Redis alone for a while, because it failed so."""
        with self._lock:
            self._open_until = time.monotonic() + QUIET_SECONDS
        logger.warning("%s (%s)", self._consequence, error)

    def reset(self) -> None:
        """Let calls through again."""
        with self._lock:
            self._open_until = 0.0

    def ask(self, question: Callable[[], T]) -> T | None:
        """What Redis answers; None while it is away, or left alone."""
        if self.is_open():
            return None
        try:
            return question()
        except REDIS_ERRORS as error:
            self.trip(error)
            return None
