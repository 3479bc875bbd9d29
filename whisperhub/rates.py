"""How often something may happen, counted for all processes together.

A bucket of tokens (the generic cell rate algorithm): so many at once, then as many as
come back. Redis keeps one moment for each name, and one script decides, so a request
costs one round trip and Redis' clock alone counts. While Redis is away each process
counts for itself: nothing is refused, or let through, because Redis is.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from whisperhub.redis import COUNTING, CircuitBreaker, redis_client, run_script

PREFIX: Final = "whisperhub:rate:"
# Names in memory; beyond, those whose buckets are full again go.
MAX_NAMES: Final = 10_000
MICROSECONDS: Final = 1_000_000

# Returns whether there was a token, and the microseconds until the bucket is full.
# Lua would write a large number with an exponent, hence the format.
SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step, span, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
if full_at + step - now > span then
  return {0, full_at - now}
end
if cost > 0 then
  full_at = full_at + step
  redis.call('SET', KEYS[1], string.format('%.0f', full_at),
             'PX', math.ceil((full_at - now) / 1000))
end
return {1, full_at - now}
"""


@dataclass(frozen=True)
class Rate:
    """So many at once; they come back one by one, all of them within `seconds`.

    Attributes:
        count: at least 1, and at most a million for each second.
    """

    count: int
    seconds: int

    @property
    def step(self) -> int:
        """Microseconds in which one comes back."""
        return self.seconds * MICROSECONDS // self.count

    @property
    def span(self) -> int:
        """Microseconds in which all come back."""
        return self.step * self.count


@dataclass(frozen=True)
class Standing:
    """What is left of a rate.

    Attributes:
        allowed: whether there was one left.
        limit: how many there are at once.
        remaining: how many are left now.
        reset_seconds: until all are back.
        retry_seconds: until one is back, at least 1; 0 if one is left.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_seconds: int


def take(name: str, rate: Rate) -> Standing:
    """Use one of a rate, if one is left.

    Args:
        name: of what is counted; it must hold no secret.
        rate: may change from call to call.
    """
    return _standing(rate, *_ask(name, rate, cost=1))


def look(name: str, rate: Rate) -> Standing:
    """What is left of a rate; nothing is used."""
    return _standing(rate, *_ask(name, rate, cost=0))


def forget(name: str) -> None:
    """Have all of a rate back at once."""
    _memory.forget(name)
    _breaker.ask(lambda: redis_client(COUNTING).delete(PREFIX + name))


def _standing(rate: Rate, allowed: bool, until_full: int) -> Standing:
    remaining = max(0, (rate.span - until_full) // rate.step)
    until_next = until_full + rate.step - rate.span
    return Standing(
        allowed=allowed,
        limit=rate.count,
        remaining=remaining,
        reset_seconds=math.ceil(until_full / MICROSECONDS),
        retry_seconds=0 if remaining else max(1, math.ceil(until_next / MICROSECONDS)),
    )


def _ask(name: str, rate: Rate, *, cost: int) -> tuple[bool, int]:
    answer = _breaker.ask(
        lambda: run_script(
            SCRIPT, keys=[PREFIX + name], args=[rate.step, rate.span, cost]
        )
    )
    if answer is None:
        return _memory.ask(name, rate, cost=cost)
    allowed, until_full = answer
    return bool(allowed), int(until_full)


class MemoryRates:
    """The same for one process.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count nothing yet."""
        self._clock = clock
        self._lock = threading.Lock()
        self._full_at: dict[str, int] = {}

    def ask(self, name: str, rate: Rate, *, cost: int) -> tuple[bool, int]:
        """What the script answers."""
        with self._lock:
            now = int(self._clock() * MICROSECONDS)
            full_at = max(self._full_at.get(name, 0), now)
            if full_at + rate.step - now > rate.span:
                return False, full_at - now
            if cost:
                full_at += rate.step
                self._make_room(now)
                self._full_at[name] = full_at
            return True, full_at - now

    def forget(self, name: str) -> None:
        """Fill a bucket."""
        with self._lock:
            self._full_at.pop(name, None)

    def clear(self) -> None:
        """Fill all buckets."""
        with self._lock:
            self._full_at.clear()

    def _make_room(self, now: int) -> None:
        if len(self._full_at) < MAX_NAMES:
            return
        self._full_at = {n: at for n, at in self._full_at.items() if at > now}
        if len(self._full_at) >= MAX_NAMES:
            # Somebody makes up names faster than they run out: the oldest go.
            for name in list(self._full_at)[: MAX_NAMES // 2]:
                del self._full_at[name]


_memory = MemoryRates()
_breaker = CircuitBreaker("Rates are counted in this process only")


def reset() -> None:
    """Forget what this process has counted, and that Redis was away."""
    _memory.clear()
    _breaker.reset()
