"""Make an API key and print it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import ApiKey, User


class Command(BaseCommand):
    help = "Make an API key for a user and print it: the only time it is shown."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Owner and purpose."""
        parser.add_argument("username")
        parser.add_argument("--name", default="command line", help="what it is for")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the new key alone on its line."""
        try:
            owner = User.objects.get(username=options["username"])
        except User.DoesNotExist:
            raise CommandError(f"There is no user {options['username']!r}.") from None
        _, secret = ApiKey.issue(owner, options["name"])
        self.stdout.write(secret)
