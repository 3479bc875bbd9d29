"""What people type to name keys and moments, and how moments are printed."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from django.core.management.base import CommandError
from django.utils import timezone

from accounts.keys import keys_named
from accounts.models import ApiKey

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """A span of time such as 90d, 12h, 30m or 45s.

    Raises:
        ArgumentTypeError: it is none.
    """
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90d, 12h, 30m.")
    try:
        return timedelta(**{UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text} is too long.") from None


def moment(text: str) -> datetime:
    """A date or moment in ISO 8601, in UTC unless it says otherwise, or time from now.

    Raises:
        ArgumentTypeError: it is neither.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        try:
            return timezone.now() + duration(text)
        except (argparse.ArgumentTypeError, OverflowError):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no date such as 2030-01-31, and no time such as 90d."
            ) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def iso(value: datetime | None) -> str:
    """A moment in UTC, to the second; `-`: there is none."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if value else "-"


def key_named(reference: str) -> ApiKey:
    """The one key that this names.

    Raises:
        CommandError: there is none, or several.
    """
    found = list(keys_named(reference).select_related("owner")[:2])
    if not found:
        raise CommandError("There is no such key; `manage.py listapikeys` has them.")
    if len(found) > 1:
        raise CommandError("Several keys begin like this: give the id.")
    return found[0]
