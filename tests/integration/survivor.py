"""A job whose database server restarts under it; test_database_restart.py runs it.

A process of its own, because it uses another database than the tests around it. It
writes a word when the job is in its middle and goes on when it reads a line.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from django.core.management import call_command  # noqa: E402

from tests.factories import TaskFactory  # noqa: E402
from tests.integration.test_transitions import HEARD, MODEL  # noqa: E402
from transcription.models import Transcript, TranscriptionTask  # noqa: E402
from transcription.services import execution  # noqa: E402


class Engine:
    """Reports, waits for the server's restart to begin, reports again, is done."""

    info = MODEL

    def transcribe(self, samples: Any, options: Any, report: Any) -> Any:
        execution.PROGRESS_SECONDS = 0.0
        report(1.0)
        say("running")
        sys.stdin.readline()
        report(2.0)
        return HEARD


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> None:
    """Run one job to its end and say what became of it."""
    call_command("migrate", verbosity=0)
    task = TaskFactory(
        owner__username=f"user{os.getpid()}", queued=True, dispatched=True
    )
    no_samples: Any = None
    setattr(execution, "load_samples", lambda path: no_samples)  # noqa: B010
    engine: Any = Engine()

    outcome = execution.execute(task.pk, engine=engine, owner="cpu-0@tests/1")

    row = TranscriptionTask.objects.get(pk=task.pk)
    transcripts = Transcript.objects.filter(task=task).count()
    say(f"{outcome} {row.status} {row.attempts} {row.losses} {transcripts}")


if __name__ == "__main__":
    main()
