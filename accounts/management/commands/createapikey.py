"""Make an API key and print it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts.keys import check_key
from accounts.management.arguments import add_limits, given_limits, moment
from accounts.models import ApiKey, User
from accounts.scopes import ORDINARY, Scope


class Command(BaseCommand):
    help = "Make an API key for a user and print it: the only time it is shown."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Owner, purpose and limits."""
        parser.add_argument("username")
        parser.add_argument("--name", default="command line", help="what it is for")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="what it may do; give it several times for several. "
            f"Left out: {' and '.join(ORDINARY)}.",
        )
        parser.add_argument(
            "--expires",
            type=moment,
            metavar="WHEN",
            help="a date (2030-01-31), a moment in UTC (2030-01-31T12:00), or a time "
            "from now (90d). Left out: never.",
        )
        add_limits(parser, left_out="the server's default")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the new key alone on its line."""
        try:
            owner = User.objects.get(username=options["username"])
        except User.DoesNotExist:
            raise CommandError(f"There is no user {options['username']!r}.") from None
        scopes = options["scope"] or ORDINARY
        try:
            check_key(owner, scopes=scopes, expires_at=options["expires"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        _, secret = ApiKey.issue(
            owner,
            options["name"],
            scopes=scopes,
            expires_at=options["expires"],
            limits=given_limits(options),
        )
        self.stdout.write(secret)
