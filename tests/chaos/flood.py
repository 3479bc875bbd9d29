"""Many tasks while the broker is down: each accepted at once, all done afterwards."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tqdm import tqdm

from tests.chaos.service import Service, Stopwatch
from tests.support.recordings import silence, to_wav
from tests.support.waiting import patient
from transcription.models import TranscriptionTask
from whisperhub.broker import local_url
from workers.broker import running_broker

CLIENTS: Final = 4
ANSWER_SECONDS: Final = 1.0
# Time for each task that waits, when the broker is back.
TASK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Flood:
    """What came of a flood.

    Attributes:
        answers: seconds until each answer, in rising order.
        completed: how many are done, at their first attempt.
        seconds: from the return of the broker to the last one's end.
    """

    answers: list[float]
    completed: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether each was accepted at once and done later."""
        were_soon = self.answers[-1] < patient(ANSWER_SECONDS)
        return were_soon and self.completed == len(self.answers)

    def line(self) -> str:
        """All in one line."""
        middle = self.answers[len(self.answers) // 2]
        return (
            f"flood: accepted={len(self.answers)} completed={self.completed} "
            f"median_answer={middle * 1000:.0f}ms "
            f"slowest_answer={self.answers[-1] * 1000:.0f}ms "
            f"done_after={self.seconds:.0f}s"
        )


def run(
    folder: Path, *, tasks: int, database_url: str = "", database: str = "default"
) -> Flood:
    """Flood a service of its own whose broker is down, then bring the broker back.

    Raises:
        AssertionError: a request was not answered with 201.
    """
    broker_dir = folder / "broker"
    service = Service(
        folder,
        database_url=database_url,
        database=database,
        broker_url=local_url(broker_dir),
        plan="one=cpu=demo",
    )
    clip = to_wav(silence(1.0))

    def send(number: int) -> float:
        watch = Stopwatch()
        service.submit(clip)
        return watch.seconds

    with ExitStack() as first_broker, ExitStack() as resources:
        first_broker.enter_context(running_broker(broker_dir))
        resources.enter_context(service)
        first_broker.close()
        with ThreadPoolExecutor(CLIENTS) as pool:
            sending = pool.map(send, range(tasks))
            answers = sorted(
                tqdm(sending, total=tasks, desc="flood", disable=None, unit="task")
            )
        waiting = TranscriptionTask.Status.PREPARING
        assert service.tasks.filter(status=waiting).count() == tasks
        with running_broker(broker_dir):
            watch = Stopwatch()
            wait_for_all(service, tasks)
            done = service.tasks.filter(
                status=TranscriptionTask.Status.COMPLETED, attempts=1, losses=0
            )
            return Flood(answers, done.count(), watch.seconds)


def wait_for_all(service: Service, tasks: int) -> None:
    """Wait until all tasks have ended, for as long as may be expected."""
    ended = service.tasks.filter(status__in=TranscriptionTask.FINAL)
    deadline = time.monotonic() + patient(60 + tasks * TASK_SECONDS)
    done = 0
    with tqdm(total=tasks, desc="done", disable=None, unit="task") as bar:
        while done < tasks and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            # A bar that is not shown does not count.
            done, before = ended.count(), done
            bar.update(done - before)
