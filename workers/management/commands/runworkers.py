"""Run the inference workers of this machine."""

from __future__ import annotations

from typing import Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError

from workers import launcher


class Command(BaseCommand):
    help = "Run one inference worker for each slot of WHISPERHUB_SLOTS."
    # Of the settings: others would import everything that web processes need.
    requires_system_checks = [Tags.security]

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or Ctrl-C."""
        try:
            plan = launcher.planned_slots()
        except ValueError as error:
            raise CommandError(f"WHISPERHUB_SLOTS: {error}") from None
        for slot in plan:
            self.stdout.write(f"slot {slot.name}: {slot.model} on {slot.device}")
        launcher.Launcher(plan).run()
