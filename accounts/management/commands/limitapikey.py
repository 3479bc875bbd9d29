"""Change the limits of an API key."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.keys import limit_key, limits_text
from accounts.management.arguments import add_limits, given_limits, key_named


class Command(BaseCommand):
    help = "Change what an API key, and those it was rotated from and to, may use."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which key, and its limits."""
        parser.add_argument("key", help="its first 12 characters, or its id")
        add_limits(parser, left_out="as it was")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what it may use now."""
        limits = given_limits(options)
        if not limits:
            raise CommandError("Give at least one limit; see --help.")
        key = key_named(options["key"])
        limit_key(key, limits)
        self.stdout.write(f"{key}: {limits_text(key)}")
