"""List the API keys."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.keys import limits_text
from accounts.management.arguments import iso
from accounts.models import ApiKey


class Command(BaseCommand):
    help = "List the API keys that open the service, without their secrets."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose, and which."""
        parser.add_argument("username", nargs="?", help="only this user's")
        parser.add_argument(
            "--all", action="store_true", help="expired and revoked ones too"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a table, newest first."""
        found = ApiKey.objects.select_related("owner")
        if options["username"]:
            found = found.filter(owner__username=options["username"])
        if not options["all"]:
            found = found.in_state(ApiKey.State.ACTIVE)
        lines = [
            (
                *("KEY", "OWNER", "SCOPES", "STATE", "EXPIRES", "LAST USE", "LIMITS"),
                *("ID", "NAME"),
            ),
            *(
                (
                    f"{key.prefix}…",
                    key.owner.username,
                    ",".join(key.scopes),
                    key.state.value,
                    iso(key.expires_at),
                    iso(key.last_used_at),
                    limits_text(key),
                    str(key.public_id),
                    key.name,
                )
                for key in found
            ),
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = zip(line, widths, strict=True)
            self.stdout.write("  ".join(f"{cell:{w}}" for cell, w in cells).rstrip())
