"""Whether many slow uploads delay others: the list of tasks, without them and with.

Four clients read the first page of the list. In turns, nobody else is there, and 50
(then 500) others upload at 10 kB/s each, from a process of their own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, cast

import psutil
from django.conf import settings
from tqdm import trange

from benchmarks.api import CLIENTS, PARTS, Web, environment, filled
from benchmarks.report import Report
from workers.stack import Stack, free_port

ROWS: Final = 5000
UPLOADERS: Final = (50, 500)
REQUESTS: Final = 50
MOST_RATIO: Final = 1.25


def run(report: Report) -> None:
    """Measure in turns, with each number of uploaders."""
    report.rows = report.rows or ROWS
    database = environment("sqlite", "")
    keys = filled(report.rows, database)[:CLIENTS]
    stack = Stack(
        data_dir=settings.DATA_DIR / "sqlite",
        port=free_port(),
        broker_url="",
        parts=PARTS,
        environment=database,
    )
    with stack:
        ratios = [measure(report, stack, keys, count) for count in UPLOADERS]
    report.data["rows"] = report.rows
    report.judge(f"ratio_{UPLOADERS[0]}<={MOST_RATIO}", met=ratios[0] <= MOST_RATIO)


def measure(report: Report, stack: Stack, keys: list[str], count: int) -> float:
    """Take the figures of one number of uploaders; returns the ratio."""
    web = psutil.Process(stack.pids()["web"])
    alone, beside, threads = [], [], []
    for _ in trange(report.repeat, desc=f"{count} uploaders", unit="round"):
        alone.append(p95(stack, keys))
        without = thread_count(web)
        with uploading(stack.port, keys[0], count):
            beside.append(p95(stack, keys))
            threads.append(thread_count(web) - without)
    ratio = statistics.median(
        slow / quick for slow, quick in zip(beside, alone, strict=True)
    )
    report.figure(f"p95_beside_{count}", statistics.median(beside) * 1000, "ms")
    report.figure(f"p95_before_{count}", statistics.median(alone) * 1000, "ms")
    report.figure(f"ratio_{count}", ratio, "")
    report.figure(f"threads_more_{count}", max(threads), "")
    report.data[f"seconds_{count}"] = {"alone": alone, "beside": beside}
    return ratio


def p95(stack: Stack, keys: list[str]) -> float:
    """Seconds of the slowest twentieth of pages, four clients at once."""
    web = Web(stack.port, stack.pids()["web"])
    return web.ask(keys, {}, REQUESTS).p95


def thread_count(web: psutil.Process) -> int:
    """Threads of the web process and its children."""
    return sum(each.num_threads() for each in (web, *web.children(recursive=True)))


@contextmanager
def uploading(port: int, key: str, count: int) -> Iterator[None]:
    """Have so many upload for the length of the block."""
    crawlers = subprocess.Popen(
        [sys.executable, "-m", "tools.uploaders", str(port), key, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    # They stop when their input ends.
    with crawlers, cast(IO[bytes], crawlers.stdin):
        if not cast(IO[bytes], crawlers.stdout).readline():
            raise RuntimeError("The slow uploaders did not come up.")
        yield
        if crawlers.poll() is not None:
            raise RuntimeError("The slow uploaders were sent away.")
