"""An urgent clip on a busy service: a long file of low priority fills the only slot.

Clips of high priority arrive at random moments; the time of each, POST to completed,
is compared with the same clip's on the idle service, taken before and after.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from tqdm import tqdm, trange

from benchmarks.latency import PARTS, as_wav
from benchmarks.material import model_path, speech
from benchmarks.report import Report, percentile
from transcription.engines.plan import model_slug
from transcription.models import TranscriptionTask
from transcription.services.transitions import cancelling
from workers.demo import Client, temporary_key, wait_for_model
from workers.stack import Stack, free_port

CLIP_SECONDS: Final = 10.0
FILE_SECONDS: Final = 2 * 3600.0
MOST_TIMES: Final = 3.0
POLL_SECONDS: Final = 0.1
WARM_UP_JOBS: Final = 2
# Between the end of one clip and the arrival of the next, uniformly.
LONGEST_GAP_SECONDS: Final = 5.0


def run(report: Report) -> None:
    """Measure idle, busy, and idle again."""
    path = model_path(report.model, device=report.device)
    clip = as_wav(speech(CLIP_SECONDS))
    long_file = as_wav(speech(report.seconds or FILE_SECONDS))
    stack = Stack(data_dir=settings.DATA_DIR, port=free_port(), model=path, parts=PARTS)
    chance = random.Random(0)
    with stack, temporary_key() as api_key:
        service = Service(Client(stack.url, api_key))
        wait_for_model(service.client, model_slug(path))
        for _ in range(WARM_UP_JOBS):
            service.time_of(clip)
        idle_rounds = max(3, report.repeat // 4)
        idle = [
            service.time_of(clip) for _ in trange(idle_rounds, desc="idle", unit="clip")
        ]
        busy = []
        filler = Filler(service, long_file)
        for _ in trange(report.repeat, desc="busy", unit="clip"):
            filler.keep_going()
            time.sleep(chance.uniform(0, LONGEST_GAP_SECONDS))
            filler.keep_going()
            busy.append(service.time_of(clip))
        filler.stop()
        idle += [
            service.time_of(clip)
            for _ in trange(idle_rounds, desc="idle again", unit="clip")
        ]
    usual = statistics.median(idle)
    report.data |= {"idle_seconds": idle, "busy_seconds": busy}
    times = statistics.median(busy) / usual
    report.figure("median", times, "x idle")
    report.figure("p95", percentile(busy, 0.95) / usual, "x idle")
    report.figure("worst", max(busy) / usual, "x idle")
    report.figure("idle", usual, "s")
    report.figure("long_files", filler.started, "")
    report.judge(f"median<={MOST_TIMES:.0f}x", met=times <= MOST_TIMES)


class Service:
    """A running service, as a client sees it."""

    def __init__(self, client: Client) -> None:
        """Speak to it through a client."""
        self.client = client

    def submit(self, upload: bytes, **fields: str) -> dict[str, Any]:
        """Send a recording; gives the task."""
        answer = self.client.session.post(
            f"{self.client.url}/api/v1/tasks/",
            files={"file": ("clip.wav", upload)},
            data={"language": "en", "temperature": "0", **fields},
            timeout=600,
        )
        answer.raise_for_status()
        task: dict[str, Any] = answer.json()
        return task

    def look(self, task: dict[str, Any]) -> dict[str, Any]:
        """The task as it is now."""
        found: dict[str, Any] = self.client.get(task["links"]["self"]).json()
        if found["status"] == "failed":
            raise RuntimeError(found["error"]["message"])
        return found

    def wait(
        self, task: dict[str, Any], until: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Look until something holds."""
        while not until(task):
            time.sleep(POLL_SECONDS)
            task = self.look(task)
        return task

    def time_of(self, upload: bytes) -> float:
        """Seconds from the POST of an urgent recording to the end of its task."""
        began = time.time()
        task = self.submit(upload, priority="high")
        done = self.wait(task, lambda task: task["status"] == "completed")
        # The moment is the row's: how often we look is no matter.
        return datetime.fromisoformat(done["finished_at"]).timestamp() - began


class Filler:
    """Keeps a long file of low priority under way."""

    def __init__(self, service: Service, upload: bytes) -> None:
        """Send nothing yet."""
        self._service = service
        self._upload = upload
        self._task: dict[str, Any] | None = None
        self.started = 0

    def keep_going(self) -> None:
        """Return while a long file is being decoded; send one if there is none."""
        if self._task is not None:
            self._task = self._service.look(self._task)
            if self._task["status"] == "processing":
                return
        tqdm.write("sending a long file")
        self._task = self._service.submit(self._upload, priority="low")
        self.started += 1
        # Past voice detection, which asks nothing of the model.
        self._task = self._service.wait(
            self._task,
            lambda task: (
                task["progress"]["share"] > 0.005 and task["status"] == "processing"
            ),
        )

    def stop(self) -> None:
        """Cancel the long file, and wait until it is gone."""
        if self._task is None:
            return
        # Until the API can: this process shares the database with the service.
        row = TranscriptionTask.objects.get(public_id=self._task["id"])
        cancelling.cancel(row.pk)
        self._service.wait(
            self._task, lambda task: task["status"] in {"cancelled", "completed"}
        )
