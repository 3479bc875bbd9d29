"""Run one inference worker; `runworkers` starts these."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from transcription.engines.plan import parse_slot
from workers import inference


class Command(BaseCommand):
    help = "Run one inference worker: name=device=model@engine/compute_type."
    # `runworkers` has looked.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The slot."""
        parser.add_argument("slot")

    def handle(self, *args: Any, **options: Any) -> None:
        """Load the model and take jobs until SIGTERM."""
        try:
            plan = parse_slot(options["slot"], 0, settings.ENGINE)
        except ValueError as error:
            raise CommandError(str(error)) from None
        inference.main(plan)
