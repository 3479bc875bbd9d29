"""What is counted for quota accounts, day by day in UTC.

A row for each account and day, so that no question needs a sum over tasks. The day is
that of the process that asks: a clock that is off by minutes moves as much to the next
day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from django.db.models import F, QuerySet, Sum

from accounts.models import DailyUsage

# The days that are told to clients, today among them.
DAYS_SHOWN: Final = 30
DAYS_KEPT: Final = 400


@dataclass(frozen=True)
class Used:
    """What was used in some days."""

    audio_seconds: float = 0.0
    tasks: int = 0


def today() -> date:
    """The day, in UTC."""
    return datetime.now(UTC).date()


def midnight() -> datetime:
    """When the next day begins."""
    return datetime.combine(today() + timedelta(days=1), time(), UTC)


def charge(account_id: int, owner_id: int, *, audio_seconds: float, tasks: int) -> None:
    """Count what was used; belongs in the transaction that uses it."""
    used = {
        "audio_seconds": F("audio_seconds") + audio_seconds,
        "tasks": F("tasks") + tasks,
    }
    day = today()
    if not _row(account_id, day).update(**used):
        _begin(account_id, owner_id, day)
        _row(account_id, day).update(**used)


def hold_today(account_id: int, owner_id: int) -> None:
    """Let no other transaction pass here for the same account until this one ends."""
    day = today()
    held = _row(account_id, day).select_for_update()
    if held.first() is None:
        _begin(account_id, owner_id, day)
        held.first()


def audio_seconds_today(account_id: int) -> float:
    """Seconds of audio that were counted for an account today."""
    seconds = _row(account_id, today()).values_list("audio_seconds", flat=True)
    return seconds.first() or 0.0


def used_by_account(account_id: int, *, days: int = 1) -> Used:
    """What an account has used in the last days, today among them."""
    return _sum(DailyUsage.objects.filter(quota_account=account_id), days)


def used_by_owner(owner_id: int, *, days: int = 1) -> Used:
    """What all accounts of an owner have used in the last days, today among them."""
    return _sum(DailyUsage.objects.filter(owner_id=owner_id), days)


def delete_old() -> int:
    """Delete the days that nobody asks for any more; returns how many rows went."""
    oldest = today() - timedelta(days=DAYS_KEPT)
    return DailyUsage.objects.filter(day__lt=oldest).delete()[0]


def _sum(rows: QuerySet[DailyUsage], days: int) -> Used:
    since = today() - timedelta(days=days - 1)
    found: dict[str, Any] = rows.filter(day__gte=since).aggregate(
        audio_seconds=Sum("audio_seconds"), tasks=Sum("tasks")
    )
    return Used(found["audio_seconds"] or 0.0, found["tasks"] or 0)


def _row(account_id: int, day: date) -> QuerySet[DailyUsage]:
    return DailyUsage.objects.filter(quota_account=account_id, day=day)


def _begin(account_id: int, owner_id: int, day: date) -> None:
    # Another transaction may have begun it: its row is as good.
    DailyUsage.objects.bulk_create(
        [DailyUsage(quota_account_id=account_id, owner_id=owner_id, day=day)],
        ignore_conflicts=True,
    )
