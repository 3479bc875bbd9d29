"""Replace an API key by a new one."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.errors import KeyNotRotatableError
from accounts.keys import DEFAULT_OVERLAP, limit_key, rotate_key
from accounts.management.arguments import (
    add_limits,
    duration,
    given_limits,
    iso,
    key_named,
)


class Command(BaseCommand):
    help = "Make a key in place of another and print it: the only time it is shown."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which key, and how long it goes on."""
        parser.add_argument("key", help="its first 12 characters, or its id")
        parser.add_argument(
            "--overlap",
            type=duration,
            default=DEFAULT_OVERLAP,
            metavar="TIME",
            help="how long the old key still works: 7d, 12h, 0s. Left out: one day.",
        )
        add_limits(parser, left_out="as the old key; both get what is given")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the new key alone on its line, and beside it when the old one ends."""
        key = key_named(options["key"])
        try:
            new, secret = rotate_key(key, overlap=options["overlap"])
        except KeyNotRotatableError as error:
            raise CommandError(error.message) from error
        except OverflowError:
            raise CommandError("This overlap is too long.") from None
        if limits := given_limits(options):
            limit_key(new, limits)
        key.refresh_from_db()
        self.stdout.write(secret)
        self.stderr.write(f"The old key {key} works until {iso(key.expires_at)}.")
