"""Run the whole service until Ctrl-C."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from transcription.engines.spec import ENGINES
from workers.default_model import default_model
from workers.stack import PARTS, Stack, StackError
from workers.supervisor import ProgramFailedError


class Command(BaseCommand):
    help = "Run the whole service on this machine until Ctrl-C."
    # Starting must not need a database that is up to date: it migrates first.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--model", help="the Whisper model to load, or demo")
        parser.add_argument(
            "--engine",
            help=f"the engine to load it with: {', '.join(ENGINES)}",
        )
        parser.add_argument(
            "--only",
            metavar="PART,…",
            default=",".join(PARTS),
            help=f"start these parts only, of {', '.join(PARTS)}",
        )
        parser.add_argument(
            "--verbose", action="store_true", help="show all output of the parts"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Start, print the addresses, stay, stop."""
        parts = [part.strip() for part in options["only"].split(",")]
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise CommandError(
                f"There is no part {', '.join(unknown)}; there are {', '.join(PARTS)}."
            )
        model = options["model"]
        if not model and not settings.SLOTS and "inference" in parts:
            model = default_model(options["engine"] or settings.ENGINE, self.say)
        stack = Stack(
            model=model,
            engine=options["engine"],
            parts=parts,
            console=self.say,
            verbose=options["verbose"],
        )
        self.say("Starting.")
        try:
            stack.run(when_up=lambda: self.show_addresses(stack))
        except (StackError, ProgramFailedError) as error:
            raise CommandError(str(error)) from error
        self.say("Stopped.")

    def say(self, line: str) -> None:
        """Print one line; a terminal that went away is no error."""
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except (OSError, ValueError):
            pass

    def show_addresses(self, stack: Stack) -> None:
        """Print where everything is and how to stop it."""
        # Needs the tables, which the stack has just made.
        from accounts.first_start import ensure_operator
        from workers.demo import announce

        _, credentials = ensure_operator()
        announce(credentials)
        self.say("WhisperHub is up.")
        if "web" in stack.parts:
            self.say(f"  API and its documentation  {stack.url}/")
            self.say(f"  Admin dashboard            {stack.url}/admin/")
            if settings.OPEN_MODE:
                self.say("      open mode: programs on this machine need no API key")
        if "flower" in stack.parts:
            user, _ = stack.flower_credentials
            self.say(f"  Queues (Flower)            {stack.flower_url}/")
            self.say(f"      user {user}, password in {stack.flower_password_source}")
        self.say(f"  Logs                       {stack.log_dir}")
        self.say("Press Ctrl-C to stop.")
