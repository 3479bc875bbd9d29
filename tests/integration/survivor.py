"""A job whose database server restarts under it; test_database_restart.py runs it.

A process of its own, because it uses another database than the tests around it. It
writes a word when the job is in its middle and goes on when it reads a line. Started
with `again` it is the worker that takes the task after the first one was killed. The
last argument is the folder of media.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import django
import numpy as np

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402

from tests.integration import steps  # noqa: E402
from tests.integration.steps import HEARD, MODEL  # noqa: E402
from tests.support.factories import TaskFactory  # noqa: E402
from tests.support.stored_files import TaskFiles  # noqa: E402
from transcription.audio import SAMPLE_RATE  # noqa: E402
from transcription.models import Transcript, TranscriptionTask  # noqa: E402
from transcription.services import execution, progress, slots  # noqa: E402


class Engine:
    """Reports, waits for the server's restart to begin, reports again, is done."""

    info = MODEL

    def transcribe(self, samples: Any, options: Any, report: Any) -> Any:
        progress.PROGRESS_SECONDS = 0.0
        report(1.0)
        say("running")
        sys.stdin.readline()
        report(2.0)
        return HEARD


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


class Refusing:
    """Must not be asked: the result is there."""

    info = MODEL

    def transcribe(self, samples: Any, options: Any, report: Any) -> Any:
        raise AssertionError("decoded again")


def first() -> tuple[int, Any]:
    """A queued task with a folder of its own, and its engine."""
    call_command("migrate", verbosity=0)
    task = TaskFactory(
        owner__username=f"user{os.getpid()}", queued=True, dispatched=True
    )
    TaskFiles(task.public_id).samples.write_bytes(b"")
    silence = np.zeros(SAMPLE_RATE, np.int16)
    setattr(execution, "load_samples", lambda path: silence)  # noqa: B010
    return task.pk, Engine()


def again() -> tuple[int, Any]:
    """The task of the worker that was killed, taken back as its launcher would."""
    assert slots.release_jobs("cpu-0@tests/") == 1
    # Other jobs have run on this server before.
    return TranscriptionTask.objects.latest("pk").pk, Refusing()


def main() -> None:
    """Run one job to its end and say what became of it."""
    settings.MEDIA_ROOT = Path(sys.argv[-1])
    task_id, engine = again() if "again" in sys.argv else first()

    outcome = steps.execute(task_id, engine=engine, owner="cpu-0@tests/1")

    row = TranscriptionTask.objects.get(pk=task_id)
    transcripts = Transcript.objects.filter(task=row).count()
    say(f"{outcome} {row.status} {row.attempts} {row.losses} {transcripts}")


if __name__ == "__main__":
    main()
