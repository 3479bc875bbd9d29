"""What limits cost a request: a key with all of them beside one with none.

One client, one web process, the requests of the two keys in turn. The limited key has a
rate, and quotas that are never reached but must be looked at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from tqdm import tqdm

from benchmarks.api import PARTS, TASKS, environment, own_server, page
from benchmarks.clients import Request, answers_to, message
from benchmarks.report import Report, percentile
from workers.stack import Stack, free_port

# The tasks of the limited key that have not ended: each submission counts them.
WAITING: Final = 1000
WARM_UP: Final = 20
# A fiftieth and a tenth of what a request of the API may take.
MORE_SECONDS: Final = {"page": 0.001, "submission": 0.005}
LIMITS: Final[dict[str, Any]] = {
    "requests_per_minute": 1_000_000,
    "audio_seconds_per_day": 1_000_000,
    "unfinished_tasks": 100_000,
    "highest_priority": "high",
}
LINK: Final = json.dumps({"file_url": "https://example.org/talk.mp3"}).encode()


def run(report: Report) -> None:
    """Measure on both databases."""
    with own_server() as url:
        met = [
            measure(report, kind, environment(kind, address))
            for kind, address in (("sqlite", ""), ("postgresql", url))
        ]
    report.data["waiting"] = WAITING
    allowed = ",".join(f"{k}+{s * 1000:.0f}ms" for k, s in MORE_SECONDS.items())
    report.judge(allowed, met=all(met))


def measure(report: Report, kind: str, environment: dict[str, str]) -> bool:
    """Take the figures of one database; returns whether all meet the target."""
    filled = subprocess.run(
        [sys.executable, "-m", "benchmarks.limits"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    keys: dict[str, str] = json.loads(filled.stdout)
    stack = Stack(
        data_dir=Path(environment["WHISPERHUB_DATA_DIR"]),
        port=free_port(),
        broker_url="",
        parts=PARTS,
        environment=environment,
    )
    met = True
    with stack:
        for what, make in {"page": small_page, "submission": link}.items():
            taken = in_turn(stack.port, keys, report.repeat, make)
            medians = {name: percentile(each, 0.5) for name, each in taken.items()}
            for name, seconds in medians.items():
                report.figure(f"{kind}_{what}_{name}", seconds * 1000, "ms")
            more = medians["limited"] - medians["free"]
            met = met and more <= MORE_SECONDS[what]
    return met


def in_turn(
    port: int, keys: dict[str, str], count: int, make: Callable[[str], Request]
) -> dict[str, list[float]]:
    """Seconds of each request, by the name of its key."""
    asked = [replace(make(key), kind=name) for name, key in keys.items()]
    rounds = chain.from_iterable(repeat(asked, WARM_UP + count))
    taken: dict[str, list[float]] = {name: [] for name in keys}
    for answer in tqdm(answers_to(port, [rounds]), unit="request"):
        if not answer.is_success:
            raise RuntimeError(answer.said)
        taken[answer.kind].append(answer.seconds)
    return {name: seconds[WARM_UP:] for name, seconds in taken.items()}


def small_page(key: str) -> Request:
    """A page of one task: what limits cost is not lost in the rest."""
    return page(key, {"limit": "1"})


def link(key: str) -> Request:
    """The submission of a link, which has no body to speak of."""
    return Request(
        "link",
        message(
            "POST",
            TASKS,
            body=LINK,
            Authorization=f"Bearer {key}",
            Content_Type="application/json",
        ),
    )


def fill() -> None:
    """Make the two keys, with tasks that wait, and print their secrets."""
    import django

    django.setup()
    from django.core.management import call_command

    from accounts.models import ApiKey, User
    from transcription.models import TranscriptionTask

    Path(settings.DATA_DIR).mkdir(parents=True, exist_ok=True)
    call_command("migrate", verbosity=0)
    owner = User.objects.create(username="bench")
    secrets = {}
    for name, limits in (("free", {}), ("limited", LIMITS)):
        key, secrets[name] = ApiKey.issue(owner, name, limits=limits)
        TranscriptionTask.objects.bulk_create(
            TranscriptionTask(
                owner=owner, model="demo", quota_account=key.quota_account
            )
            for _ in range(WAITING)
        )
    sys.stdout.write(json.dumps(secrets))


if __name__ == "__main__":
    fill()
