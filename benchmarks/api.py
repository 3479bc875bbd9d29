"""The API with a million tasks in the database: submissions, and the list's filters.

Four clients at once, each with the key of one of the owners who have the most tasks,
then a crowd that does everything by turns, and strangers who ask for the OpenAPI
document beside an owner. Nobody takes the tasks that are submitted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlencode

import psutil
from django.conf import settings
from django.utils import timezone
from tqdm import tqdm

from benchmarks.clients import Answer, Request, answers_to, message
from benchmarks.report import Report, percentile
from tools import services
from workers.stack import Stack, free_port

CLIENTS: Final = 4
ROWS: Final = 1_000_000
UPLOAD_BYTES: Final = 1_000_000
TARGET_SECONDS: Final = 0.050
WARM_UP_REQUESTS: Final = 5
WARM_UP: Final = "warm-up"
CROWD: Final = 200
CROWD_SECONDS: Final = 60.0
# Of a crowd's requests one in so many is a submission.
CROWD_PAGES: Final = 9
CREATE: Final = "create"
# Clients without a key, who ask for the document.
STRANGERS: Final = 32
DOCUMENT: Final = "document"
PAGE: Final = "page"
SCHEMA: Final = "/api/v1/schema/"
PARTS: Final = ("broker", "migrate", "web")
TASKS: Final = "/api/v1/tasks/"
# The tests' server may lose what a power cut would take; one in earnest may not.
DURABLE: Final = ("-c", "fsync=on", "-c", "full_page_writes=on")


def queries() -> list[dict[str, str]]:
    """The first page of each filter, of frequent values and of rare ones."""
    month_ago = (timezone.now() - timedelta(days=30)).isoformat()
    return [
        {},
        {"status": "completed"},
        {"status": "queued"},
        {"status": "failed"},
        {"priority": "high"},
        {"task_type": "detect_language"},
        {"language": "en"},
        {"language": "ja"},
        {"engine": "openai-whisper"},
        {"model": "large-v3"},
        {"model": "none-has-this"},
        {"platform": "tiktok"},
        {"created_after": month_ago},
        {"created_before": month_ago},
        {"finished_after": month_ago},
        {"finished_before": month_ago},
        {"has_result": "true"},
        {"has_result": "false"},
        {"has_error": "true"},
        {"has_error": "false"},
        {"ordering": "created_at"},
        {"ordering": "-finished_at"},
    ]


def run(report: Report) -> None:
    """Measure on each database."""
    report.rows = report.rows or ROWS
    with own_server() as url, ThreadPoolExecutor() as pool:
        # SQLite lies in the data folder of its stack.
        databases = {
            "sqlite": environment("sqlite", ""),
            "postgresql": environment("postgresql", url),
        }
        keys = pool.map(partial(filled, report.rows), databases.values())
        met = [
            measure(report, kind, databases[kind], its_keys)
            for kind, its_keys in zip(databases, list(keys), strict=True)
        ]
    report.data["rows"] = report.rows
    report.judge(
        f"each_p95<{TARGET_SECONDS * 1000:.0f}ms,no_error_of_{CROWD}_clients",
        met=all(met),
    )


@contextmanager
def own_server() -> Iterator[str]:
    """A PostgreSQL server that keeps what it has committed."""
    server = services.postgresql()
    server.command = [*server.command, *DURABLE]
    try:
        server.start()
        yield server.url
    finally:
        server.discard()


def environment(kind: str, url: str) -> dict[str, str]:
    """What the processes of one database find in their environment."""
    data_dir = settings.DATA_DIR / kind
    data_dir.mkdir()
    return {"WHISPERHUB_DATA_DIR": str(data_dir), "WHISPERHUB_DATABASE_URL": url}


def measure(
    report: Report, kind: str, environment: dict[str, str], keys: list[str]
) -> bool:
    """Take the figures of one database; returns whether all meet the target."""
    stack = Stack(
        data_dir=Path(environment["WHISPERHUB_DATA_DIR"]),
        port=free_port(),
        broker_url="",
        parts=PARTS,
        environment=environment,
    )
    with stack:
        web = Web(stack.port, stack.pids()["web"])
        pages = {
            urlencode(query) or "all": web.ask(keys, query, report.repeat)
            for query in tqdm(queries(), desc=f"{kind}, lists", unit="filter")
        }
        created = web.ask(keys, None, report.repeat)
        crowd, asked_seconds = web.crowd(keys, report.seconds or CROWD_SECONDS)
        beside_strangers = web.beside_strangers(keys[0], report.repeat)
        document = web.documents(report.repeat)
    slowest = max(pages, key=lambda name: pages[name].p95)
    report.figure(f"{kind}_create_p95", created.p95 * 1000, "ms")
    report.figure(f"{kind}_list_p95", pages[slowest].p95 * 1000, "ms")
    report.figure(f"{kind}_create_processor", created.processor * 1000, "ms")
    report.figure(f"{kind}_list_processor", pages["all"].processor * 1000, "ms")
    report.figure(f"{kind}_crowd_rate", len(crowd) / asked_seconds, "/s")
    report.figure(f"{kind}_crowd_p95", p95_of(crowd) * 1000, "ms")
    report.figure(f"{kind}_document_processor", document.processor * 1000, "ms")
    report.figure(f"{kind}_page_beside_strangers", beside_strangers, "x")
    failed = [answer for answer in crowd if not answer.is_success]
    report.figure(f"{kind}_crowd_errors", len(failed), "")
    report.data[f"{kind}_slowest"] = slowest
    report.data[f"{kind}_list_p95_seconds"] = {
        name: taken.p95 for name, taken in pages.items()
    }
    report.data[f"{kind}_crowd_said"] = [answer.said for answer in failed[:20]]
    in_time = max(created.p95, pages[slowest].p95) < TARGET_SECONDS
    return in_time and not failed


@dataclass(frozen=True)
class Taken:
    """What requests of one kind took.

    Attributes:
        p95: the 95th percentile of their seconds.
        processor: seconds of processor time of the web processes for each.
    """

    p95: float
    processor: float


@dataclass(frozen=True)
class Web:
    """The web server that is measured.

    Attributes:
        pid: of its first process, whose children are the others.
    """

    port: int
    pid: int

    def ask(self, keys: list[str], query: dict[str, str] | None, count: int) -> Taken:
        """Have a client for each key ask at the same time, one thing again and again.

        Args:
            keys: theirs.
            query: of the list; None: submissions.
            count: requests of each, after some that do not count.
        """

        def client(key: str) -> Iterator[Request]:
            made = submission(key) if query is None else page(key, query)
            for _ in range(WARM_UP_REQUESTS):
                yield Request(WARM_UP, made.message)
            yield from islice(cycle([made]), count)

        before = self._processor_seconds()
        answers = list(answers_to(self.port, map(client, keys)))
        processor = (self._processor_seconds() - before) / len(answers)
        for answer in answers:
            if not answer.is_success:
                raise RuntimeError(f"{answer.kind}: {answer.said}")
        counted = [answer for answer in answers if answer.kind != WARM_UP]
        return Taken(p95_of(counted), processor)

    def crowd(self, keys: list[str], seconds: float) -> tuple[list[Answer], float]:
        """Have many clients ask for pages of all filters, and submit between them.

        Returns:
            Their answers, and how long it took until the last one had come.
        """
        submissions = [submission(key) for key in keys]
        pages = [[page(key, query) for query in queries()] for key in keys]
        began = time.perf_counter()

        def client(number: int) -> Iterator[Request]:
            mine = cycle(pages[number % len(keys)])
            # Not all of them at the same place.
            turn = number
            for _ in range(number):
                next(mine)
            while time.perf_counter() - began < seconds:
                turn += 1
                if turn % (CROWD_PAGES + 1):
                    yield next(mine)
                else:
                    yield submissions[number % len(keys)]

        answers = list(answers_to(self.port, map(client, range(CROWD))))
        return answers, time.perf_counter() - began

    def documents(self, count: int) -> Taken:
        """Have a client without a key ask for the OpenAPI document.

        Each web process writes it once, so strangers must have asked before.
        """
        before = self._processor_seconds()
        answers = list(answers_to(self.port, [iter([stranger()] * count)]))
        processor = (self._processor_seconds() - before) / len(answers)
        return Taken(p95_of(answers), processor)

    def beside_strangers(self, key: str, count: int) -> float:
        """What an owner's page takes beside strangers, by what it takes alone.

        The strangers ask for the OpenAPI document, one request after the other.
        """
        alone = self._pages(key, count, strangers=0)
        return self._pages(key, count, strangers=STRANGERS) / alone

    def _pages(self, key: str, count: int, *, strangers: int) -> float:
        """The median seconds of an owner's pages."""
        is_done = False

        def owner() -> Iterator[Request]:
            nonlocal is_done
            for _ in range(WARM_UP_REQUESTS):
                yield Request(WARM_UP, page(key, {}).message)
            for _ in range(count):
                yield page(key, {})
            is_done = True

        def ask() -> Iterator[Request]:
            while not is_done:
                yield stranger()

        clients = [owner(), *(ask() for _ in range(strangers))]
        answers = answers_to(self.port, clients)
        return median(answer.seconds for answer in answers if answer.kind == PAGE)

    def _processor_seconds(self) -> float:
        parent = psutil.Process(self.pid)
        times = [
            process.cpu_times()
            for process in [parent, *parent.children(recursive=True)]
        ]
        return sum(one.user + one.system for one in times)


def p95_of(answers: list[Answer]) -> float:
    """The 95th percentile of their seconds."""
    return percentile([answer.seconds for answer in answers], 0.95)


def filled(rows: int, environment: dict[str, str]) -> list[str]:
    """Have a process of that database fill it; gives the keys of its first owners."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.api", str(rows)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    keys: list[str] = json.loads(ended.stdout)
    return keys


def fill(rows: int) -> None:
    """Fill the database of this process and print keys of its first owners."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from accounts.models import ApiKey
    from tools import many_tasks
    from transcription.models import TranscriptionTask

    Path(settings.DATA_DIR).mkdir(parents=True, exist_ok=True)
    call_command("migrate", verbosity=0)
    indexes = TranscriptionTask._meta.indexes
    # Made at once they take a part of the time.
    with connection.schema_editor() as editor:
        for index in indexes:
            editor.remove_index(TranscriptionTask, index)
    owners = many_tasks.fill(rows)
    with connection.schema_editor() as editor:
        for index in indexes:
            editor.add_index(TranscriptionTask, index)
    many_tasks.analyse()
    keys = [ApiKey.issue(owner, "bench")[1] for owner in owners[:CLIENTS]]
    sys.stdout.write(json.dumps(keys))


def page(key: str, query: dict[str, str]) -> Request:
    """The first page of a filter."""
    address = f"{TASKS}?{urlencode(query)}"
    return Request(PAGE, message("GET", address, Authorization=f"Bearer {key}"))


def stranger() -> Request:
    """The OpenAPI document, without a key."""
    return Request(DOCUMENT, message("GET", SCHEMA, Accept_Encoding="gzip"))


def submission(key: str) -> Request:
    """A form with a file of random bytes."""
    boundary = "whisperhub"
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="file"; filename="talk.mp3"\r\n'
        "Content-Type: audio/mpeg\r\n\r\n"
    ).encode()
    body = head + os.urandom(UPLOAD_BYTES) + f"\r\n--{boundary}--\r\n".encode()
    return Request(
        CREATE,
        message(
            "POST",
            TASKS,
            body=body,
            Authorization=f"Bearer {key}",
            Content_Type=f"multipart/form-data; boundary={boundary}",
        ),
    )


if __name__ == "__main__":
    fill(int(sys.argv[1]))
