"""The API with a million tasks in the database: submissions, and the list's filters.

Four clients at once against one web process, each with the key of one of the owners
who have the most tasks. Nobody takes the tasks that are submitted.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Final
from urllib.parse import urlencode

from django.conf import settings
from django.utils import timezone
from tqdm import tqdm

from benchmarks.report import Report, percentile
from tools import services
from workers.stack import Stack, free_port

CLIENTS: Final = 4
ROWS: Final = 1_000_000
UPLOAD_BYTES: Final = 1_000_000
TARGET_SECONDS: Final = 0.050
WARM_UP_REQUESTS: Final = 5
REQUEST_SECONDS: Final = 60.0
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
    report.judge(f"each_p95<{TARGET_SECONDS * 1000:.0f}ms", met=all(met))


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
    lists: dict[str, float] = {}
    stack = Stack(
        data_dir=Path(environment["WHISPERHUB_DATA_DIR"]),
        port=free_port(),
        broker_url="",
        parts=PARTS,
        environment=environment,
    )
    with stack:
        for query in tqdm(queries(), desc=f"{kind}, lists", unit="filter"):
            page = partial(first_page, query)
            taken = at_once(keys, stack.port, report.repeat, page)
            lists[urlencode(query) or "all"] = percentile(taken, 0.95)
        created = at_once(keys, stack.port, report.repeat, upload)
    slowest = max(lists, key=lambda name: lists[name])
    create = percentile(created, 0.95)
    report.figure(f"{kind}_create_p95", create * 1000, "ms")
    report.figure(f"{kind}_list_p95", lists[slowest] * 1000, "ms")
    report.data[f"{kind}_slowest"] = slowest
    report.data[f"{kind}_list_p95_seconds"] = lists
    return max(create, lists[slowest]) < TARGET_SECONDS


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


Made = Callable[[], tuple[str, bytes, dict[str, str]]]


def at_once(keys: list[str], port: int, count: int, make: Made) -> list[float]:
    """Seconds of each request of several clients that all run at the same time.

    Args:
        keys: one for each client.
        port: of the web process on this machine.
        count: requests of each client, after some that do not count.
        make: gives address, body and headers; without a body it is a GET.
    """
    together, warm_up = Barrier(len(keys)), WARM_UP_REQUESTS

    def client(key: str) -> list[float]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=REQUEST_SECONDS
        )
        together.wait()
        taken = [one_request(connection, key, *make()) for _ in range(warm_up + count)]
        connection.close()
        return taken[warm_up:]

    with ThreadPoolExecutor(len(keys)) as pool:
        return [seconds for taken in pool.map(client, keys) for seconds in taken]


def one_request(
    connection: http.client.HTTPConnection,
    key: str,
    address: str,
    body: bytes,
    headers: dict[str, str],
) -> float:
    """Seconds from sending a request to the last byte of its answer."""
    began = time.perf_counter()
    connection.request(
        "POST" if body else "GET",
        address,
        body or None,
        {"Authorization": f"Bearer {key}", **headers},
    )
    answer = connection.getresponse()
    said = answer.read()
    taken = time.perf_counter() - began
    if answer.status not in (200, 201):
        raise RuntimeError(f"{address}: {answer.status} {said[:500]!r}")
    return taken


def first_page(query: dict[str, str]) -> tuple[str, bytes, dict[str, str]]:
    """A page of the list."""
    return f"{TASKS}?{urlencode(query)}", b"", {}


def upload() -> tuple[str, bytes, dict[str, str]]:
    """A form with a file of random bytes."""
    boundary = "whisperhub"
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="file"; filename="talk.mp3"\r\n'
        "Content-Type: audio/mpeg\r\n\r\n"
    ).encode()
    body = head + os.urandom(UPLOAD_BYTES) + f"\r\n--{boundary}--\r\n".encode()
    return TASKS, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


if __name__ == "__main__":
    fill(int(sys.argv[1]))
