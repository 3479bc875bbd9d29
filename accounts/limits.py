"""What a key may use at most, and whose use it counts as.

A key that is rotated makes a line: the keys of a line have the same limits and share
what they use. Requests without a key, of a person who is signed in or in open mode,
count for their owner as those of one more line, under the default limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from django.conf import settings
from rest_framework.request import Request

from accounts.models import LIMIT_FIELDS, ApiKey, User
from whisperhub.queues import PRIORITIES
from whisperhub.rates import Rate

MINUTE: Final = 60
ORDINARY_PRIORITY: Final = "normal"


@dataclass(frozen=True)
class Limits:
    """The limits of a line as they are in force; 0: none."""

    requests_per_minute: int
    audio_seconds_per_day: int
    unfinished_tasks: int
    highest_priority: str

    @property
    def rate(self) -> Rate | None:
        """The rate of requests; None: any."""
        count = self.requests_per_minute
        return Rate(count, MINUTE) if count else None

    @property
    def default_priority(self) -> str:
        """What a task gets whose client names no priority."""
        return ORDINARY_PRIORITY if self.allows(ORDINARY_PRIORITY) else "low"

    def allows(self, priority: str) -> bool:
        """Whether tasks may have this priority."""
        return PRIORITIES.index(priority) >= PRIORITIES.index(self.highest_priority)


@dataclass(frozen=True)
class Client:
    """Who makes a request, as far as limits go.

    Attributes:
        line: the number of its line of keys, or of the owner's requests without a key.
    """

    line: int
    owner_id: int
    limits: Limits


def limits_of(key: ApiKey | None) -> Limits:
    """The limits of a key, or those of requests without one."""
    defaults: dict[str, Any] = {
        "requests_per_minute": settings.KEY_REQUESTS_PER_MINUTE,
        "audio_seconds_per_day": settings.KEY_AUDIO_SECONDS_PER_DAY,
        "unfinished_tasks": settings.KEY_UNFINISHED_TASKS,
        "highest_priority": settings.KEY_HIGHEST_PRIORITY,
    }
    own = {name: getattr(key, name, None) for name in LIMIT_FIELDS}
    # A limit of 0 is one of its own: none, whatever the default.
    return Limits(
        **{
            name: defaults[name] if value in (None, "") else value
            for name, value in own.items()
        }
    )


def client_with_key(key: ApiKey) -> Client:
    """Whoever uses this key."""
    return Client(key.line, key.owner_id, limits_of(key))


def client_without_key(owner_id: int) -> Client:
    """An owner who acts in person."""
    return Client(line_without_key(owner_id), owner_id, limits_of(None))


def client_of(request: Request) -> Client:
    """Who makes a request that was let in."""
    # The stubs know DRF's own tokens only.
    auth: Any = request.auth
    if isinstance(auth, ApiKey):
        return client_with_key(auth)
    return client_without_key(cast(User, request.user).pk)


def line_without_key(owner_id: int) -> int:
    """The number of an owner's requests without a key; no key's line is below zero."""
    return -owner_id
