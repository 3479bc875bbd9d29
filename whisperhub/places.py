"""How many may do something at the same time, counted for all processes together.

Redis keeps a set for each name, with the moment until which each place is held at most:
the places of a process that died come free by themselves. While Redis is away each
process counts for itself.
"""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from whisperhub.redis import COUNTING, CircuitBreaker, redis_client, run_script

PREFIX: Final = "whisperhub:places:"
MILLISECONDS: Final = 1000

# Returns whether there was a place. An empty token takes none.
SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, span, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if redis.call('ZCARD', KEYS[1]) >= most then
  return 0
end
if token ~= '' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + span), token)
  redis.call('PEXPIRE', KEYS[1], span)
end
return 1
"""


@dataclass(frozen=True)
class Place:
    """One place that is held; whoever took it releases it."""

    name: str
    token: str

    def release(self) -> None:
        """Give it back; a second time changes nothing."""
        _memory.release(self.name, self.token)
        _breaker.ask(
            lambda: redis_client(COUNTING).zrem(PREFIX + self.name, self.token)
        )


def take(name: str, *, most: int, seconds: float) -> Place | None:
    """Take a place, if fewer than `most` are held.

    Args:
        name: of what is counted; it must hold no secret.
        most: places.
        seconds: after which the place is free again even if nobody releases it.
    """
    place = Place(name, uuid.uuid4().hex)
    return place if _ask(name, most, seconds, place.token) else None


def is_free(name: str, *, most: int) -> bool:
    """Whether a place could be taken now."""
    return _ask(name, most, 0, "")


def _ask(name: str, most: int, seconds: float, token: str) -> bool:
    span = int(seconds * MILLISECONDS)
    answer = _breaker.ask(
        lambda: run_script(SCRIPT, keys=[PREFIX + name], args=[most, span, token])
    )
    return _memory.ask(name, most, token) if answer is None else bool(answer)


class _MemoryPlaces:
    """The same for one process, which releases what it took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: defaultdict[str, set[str]] = defaultdict(set)

    def ask(self, name: str, most: int, token: str) -> bool:
        with self._lock:
            if len(self._held.get(name, ())) >= most:
                return False
            if token:
                self._held[name].add(token)
            return True

    def release(self, name: str, token: str) -> None:
        with self._lock:
            held = self._held.get(name)
            if held is not None:
                held.discard(token)
                if not held:
                    del self._held[name]

    def clear(self) -> None:
        with self._lock:
            self._held.clear()


_memory = _MemoryPlaces()
_breaker = CircuitBreaker("Places are counted in this process only")


def reset() -> None:
    """Forget what this process holds, and that Redis was away."""
    _memory.clear()
    _breaker.reset()
