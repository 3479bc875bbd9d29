"""Shut an API key."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.keys import revoke_keys
from accounts.management.arguments import key_named
from accounts.models import ApiKey


class Command(BaseCommand):
    help = "Shut an API key at once and for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which key."""
        parser.add_argument(
            "key", help="its first 12 characters, its id, or the whole key"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Say what was done."""
        key = key_named(options["key"])
        done = revoke_keys(ApiKey.objects.filter(pk=key.pk))
        self.stdout.write(f"{key} {'is' if done else 'was already'} revoked.")
