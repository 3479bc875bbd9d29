"""Start the whole service, send it a recording, print the transcript, stop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from transcription.engines.plan import DEMO, model_slug
from workers.default_model import default_model
from workers.stack import Stack, StackError, check_port, free_port
from workers.supervisor import ProgramFailedError


class Command(BaseCommand):
    help = "Show the whole service at work: the bundled samples, or a file of yours."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """File, model and engine."""
        parser.add_argument("--file", type=Path, help="audio or video of your own")
        parser.add_argument(
            "--model",
            help="a Whisper model, a folder, or demo; left out: the best to be had",
        )
        parser.add_argument("--engine", default=settings.ENGINE)

    def handle(self, *_: Any, **options: Any) -> None:
        """Start, transcribe, stop; one sentence if that cannot be."""
        file: Path | None = options["file"]
        if file is not None and not file.is_file():
            raise CommandError(f"There is no file {file}.")
        model = options["model"] or default_model(options["engine"], self.say)
        stack = Stack(
            port=port_near(settings.HOST, settings.PORT),
            flower_port=port_near("127.0.0.1", settings.FLOWER_PORT),
            model=model,
            engine=options["engine"],
            console=self.say,
        )
        self.say("Starting broker, web, workers, dispatcher and Flower …")
        try:
            with stack:
                self.show(stack, file, model_slug(model))
        except (StackError, ProgramFailedError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.say("Interrupted.")
            sys.exit(130)
        self.say("Everything is stopped. `make run` starts it again, to stay.")

    def show(self, stack: Stack, file: Path | None, model: str) -> None:
        """Do the demo on a stack that is up."""
        # Needs the tables, which the stack has just made.
        from workers import demo

        if file:
            recordings = [demo.Recording(file)]
        elif model == DEMO:
            recordings = demo.sample_recordings()
        else:
            recordings = demo.natural_recording()
        try:
            demo.run_demo(stack.url, recordings, model=model)
        except demo.DemoError as error:
            raise CommandError(str(error)) from error
        demo.say()
        user, _ = stack.flower_credentials
        demo.say("While it runs, and with `make run`, you find:")
        demo.say(f"  API and its documentation  {stack.url}/")
        demo.say(f"  Admin dashboard            {stack.url}/admin/")
        demo.say(f"  Queues (Flower)            {stack.flower_url}/")
        demo.say(f"      user {user}, password in {stack.flower_password_source}")

    def say(self, line: str) -> None:
        """Print one line at once."""
        self.stdout.write(line)
        self.stdout.flush()


def port_near(host: str, wanted: int) -> int:
    """The configured port, or any free one if that is taken: a demo must not fail."""
    try:
        check_port(host, wanted, "WHISPERHUB_PORT")
    except StackError:
        return free_port(host)
    return wanted
