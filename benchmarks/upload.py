"""The largest upload: what each process holds meanwhile, and what is written.

The whole service runs. A recording of silence is sent with its length, and once more in
chunks without one; the private memory of each process is looked at all the time, from
the first byte until the task has its result.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psutil
from django.conf import settings

from benchmarks.report import Report
from tools.uploaders import silent_wav, upload
from workers.demo import Client, temporary_key, wait_for_model
from workers.stack import Stack, free_port

FILE_BYTES: Final = 2 * 2**30
# So that silence of so many bytes lasts three quarters of an hour, and not a day.
SAMPLE_RATE: Final = 192_000
MOST_MIB: Final = 100.0
MIB: Final = 2**20
LOOK_SECONDS: Final = 0.05
POLL_SECONDS: Final = 0.5
PARTS: Final = ("broker", "migrate", "web", "media", "inference", "dispatcher")
WARM_UP_BYTES: Final = 10 * MIB


class Watch:
    """Looks at the memory of the processes below some, and at what they write.

    Attributes:
        before: private memory in MiB when a process was first seen; by its name.
        peak: the most since then.
    """

    def __init__(self, roots: dict[str, int]) -> None:
        """Begin with the processes that run now."""
        self.processes = {
            (name if process.pid == pid else f"{name} {process.pid}"): process
            for name, pid in roots.items()
            for process in (
                psutil.Process(pid),
                *psutil.Process(pid).children(recursive=True),
            )
        }
        self.before = self._look()
        self.peak: dict[str, float] = defaultdict(float, self.before)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look all the time for the length of the block."""
        done = threading.Event()

        def run() -> None:
            while not done.wait(LOOK_SECONDS):
                for name, held in self._look().items():
                    self.peak[name] = max(self.peak[name], held)

        looking = threading.Thread(target=run)
        looking.start()
        try:
            yield
        finally:
            done.set()
            looking.join()

    def growth(self) -> dict[str, float]:
        """What each process held beyond its beginning, in MiB."""
        return {name: self.peak[name] - self.before[name] for name in self.before}

    def _look(self) -> dict[str, float]:
        return {
            name: process.memory_full_info().uss / MIB
            for name, process in self.processes.items()
            if process.is_running()
        }


def run(report: Report) -> None:
    """Send it both ways."""
    size = report.file_bytes or FILE_BYTES
    stack = Stack(
        data_dir=settings.DATA_DIR,
        port=free_port(),
        broker_url="",
        model=report.model,
        parts=PARTS,
        environment={
            "WHISPERHUB_MAX_UPLOAD_SIZE": str(size),
            # One child that decodes: the second would be warm by chance.
            "WHISPERHUB_MEDIA_WORKERS": "1",
        },
    )
    growth: dict[str, float] = {}
    with stack, temporary_key() as key:
        client = Client(stack.url, key)
        wait_for_model(client, report.model)
        # Every process has done its work once: what it loads for it is no growth.
        finish(client, send(stack.port, key, WARM_UP_BYTES, announced=True)[0])
        for name in ("length", "chunked"):
            grown = one_upload(report, stack, client, key, size, name)
            growth = {part: max(growth.get(part, 0), grown[part]) for part in grown}
    worst = max(growth, key=lambda part: growth[part])
    report.figure("growth", growth[worst], "MiB")
    report.data |= {"worst": worst, "growth_mib": growth, "bytes": size}
    copies = max(report.data[f"{name}_copies"] for name in ("length", "chunked"))
    report.judge(
        f"growth<={MOST_MIB:.0f}MiB,written<=1.05",
        met=growth[worst] <= MOST_MIB and copies <= 1.05,
    )


def one_upload(
    report: Report, stack: Stack, client: Client, key: str, size: int, name: str
) -> dict[str, float]:
    """Send one file, wait for its result; gives the growth of each process."""
    roots = {part: pid for part, pid in stack.pids().items() if part != "broker"}
    watch = Watch(roots)
    written = bytes_written(watch.processes["web"])
    with watch.running():
        task, seconds = send(stack.port, key, size, announced=name == "length")
        copies = (bytes_written(watch.processes["web"]) - written) / size
        began = time.perf_counter()
        finish(client, task)
        rest = time.perf_counter() - began
    report.figure(f"{name}_seconds", seconds, "s")
    report.figure(f"{name}_copies", copies, "")
    report.figure(f"{name}_result_after", rest, "s")
    return watch.growth()


def bytes_written(web: psutil.Process) -> int:
    """By the web process and its children, to files and sockets."""
    processes = [web, *web.children(recursive=True)]
    return sum(process.io_counters().write_chars for process in processes)


def send(port: int, key: str, size: int, *, announced: bool) -> tuple[Any, float]:
    """Upload silence; gives the task and the seconds until it was accepted."""
    pieces = silent_wav(size, rate=SAMPLE_RATE)
    answer = upload(port, key, pieces, size_bytes=size if announced else None)
    if answer.status != 201:
        raise RuntimeError(f"{answer.status}: {answer.body}")
    return answer.body, answer.seconds


def finish(client: Client, task: Any) -> None:
    """Wait for the result of a task."""
    while task["status"] != "completed":
        if task["status"] in ("failed", "cancelled"):
            raise RuntimeError(f"{task['status']}: {task['error']}")
        time.sleep(POLL_SECONDS)
        task = client.get(task["links"]["self"]).json()
