"""Run a dispatcher."""

from __future__ import annotations

import signal
from typing import Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand

from workers.dispatcher import Dispatcher


class Command(BaseCommand):
    help = (
        "Send hints held back, take back expired leases, tidy up; any number may run."
    )
    # Of the settings: others would import everything that web processes need.
    requires_system_checks = [Tags.security]

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or Ctrl-C."""
        dispatcher = Dispatcher()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: dispatcher.stop.set())
        dispatcher.run()
