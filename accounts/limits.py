"""What a key may use at most, and whose use it counts as.

A key and those that rotation makes of it have the same limits and one quota account.
Requests without a key, of a person who is signed in or in open mode, count for another
account of their owner, under the default limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request

from accounts.models import LIMIT_FIELDS, ApiKey, QuotaAccount, User
from whisperhub.queues import PRIORITIES
from whisperhub.rates import Rate

MINUTE: Final = 60
ORDINARY_PRIORITY: Final = "normal"


@dataclass(frozen=True)
class Limits:
    """The limits that are in force for a quota account; 0: none."""

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
        holder: the key, or the user who acts without one.
    """

    holder: ApiKey | User
    limits: Limits

    @property
    def owner_id(self) -> int:
        """The user whose use it is."""
        return _owner_id(self.holder)

    @property
    def quota_account_id(self) -> int:
        """What its use is counted for."""
        return quota_account_of(self.holder)


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
    """The client that a key stands for."""
    return Client(key, limits_of(key))


def client_without_key(owner: User) -> Client:
    """The client of an owner's requests without a key."""
    return Client(owner, limits_of(None))


def client_of(request: Request) -> Client:
    """Who makes a request that was let in."""
    # The stubs know DRF's own tokens only.
    auth: Any = request.auth
    if isinstance(auth, ApiKey):
        return client_with_key(auth)
    return client_without_key(cast(User, request.user))


def quota_account_of(holder: ApiKey | User) -> int:
    """The id of the quota account of a key, or of a user's requests without a key.

    The account is made here if it is missing; that costs queries once.
    """
    if holder.quota_account_id is None:
        holder.quota_account_id = _make_account(holder)
    return holder.quota_account_id


def _make_account(holder: ApiKey | User) -> int:
    # The user of a session is a lazy object, whose type is not that of the row.
    kind: Any = ApiKey if isinstance(holder, ApiKey) else User
    rows: QuerySet[Any] = kind.objects.filter(pk=holder.pk)
    with transaction.atomic():
        # Of several first requests at the same time one makes the account.
        locked: ApiKey | User = rows.select_for_update().get()
        if locked.quota_account_id is not None:
            return locked.quota_account_id
        # A key that an earlier release has rotated goes on with the account of the old.
        former = (
            ApiKey.objects.filter(replaced_by=holder.pk).first()
            if isinstance(holder, ApiKey)
            else None
        )
        if former is None:
            account_id = QuotaAccount.objects.create(owner_id=_owner_id(holder)).pk
        else:
            account_id = quota_account_of(former)
        rows.update(quota_account_id=account_id)
    return account_id


def _owner_id(holder: ApiKey | User) -> int:
    return holder.owner_id if isinstance(holder, ApiKey) else holder.pk
