"""What people type to name keys and moments, and how moments are printed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandError
from django.utils import timezone

from accounts.keys import keys_named
from accounts.models import LIMIT_FIELDS, MAX_COUNT, MAX_REQUESTS_PER_MINUTE, ApiKey
from whisperhub.queues import PRIORITIES

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


def count_up_to(most: int) -> Any:
    """A reader of a limit: a whole number from 0, or `default`, which is None."""

    def read(text: str) -> int | None:
        if text == "default":
            return None
        if not re.fullmatch(r"\d{1,10}", text) or int(text) > most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from 0 to {most}, and not default."
            )
        return int(text)

    return read


def priority(text: str) -> str | None:
    """A priority, or `default`, which is None.

    Raises:
        ArgumentTypeError: it is neither.
    """
    if text not in {*PRIORITIES, "default"}:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(PRIORITIES)}, and not default."
        )
    return None if text == "default" else text


def add_limits(parser: argparse.ArgumentParser, *, left_out: str) -> None:
    """The options that limit a key; what is not given is not there afterwards.

    Args:
        parser: of the command.
        left_out: what a limit is that is not given.
    """
    group = parser.add_argument_group(
        "limits", f"A number, 0 for no limit, or default. Left out: {left_out}."
    )
    for name, most, what in (
        ("requests-per-minute", MAX_REQUESTS_PER_MINUTE, "requests in a minute"),
        ("audio-seconds-per-day", MAX_COUNT, "seconds of audio in a day, in UTC"),
        ("unfinished-tasks", MAX_COUNT, "tasks that have not ended, at any time"),
    ):
        group.add_argument(
            f"--{name}",
            type=count_up_to(most),
            default=argparse.SUPPRESS,
            metavar="N",
            help=what,
        )
    group.add_argument(
        "--highest-priority",
        type=priority,
        default=argparse.SUPPRESS,
        metavar="PRIORITY",
        help=f"of its tasks: {', '.join(PRIORITIES)} or default",
    )


def given_limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """The limits among the options of a command, by name."""
    return {name: options[name] for name in LIMIT_FIELDS if name in options}


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
