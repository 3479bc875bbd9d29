"""Claims with a long queue: what it costs to find whose turn it is, and to note it.

Two hundred owners wait in the lanes of four models. The claim of a row whose key is
known is measured beside it: what remains when nobody is asked whose turn it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from benchmarks.api import environment, own_server
from benchmarks.report import Report, milliseconds, percentile

ROWS: Final = 120_000
OWNERS: Final = 200
LANE: Final = "large-v3.normal"
TARGET_SECONDS: Final = 0.010


def run(report: Report) -> None:
    """Measure on each database."""
    rows = report.rows = report.rows or ROWS
    with own_server() as url:
        met = []
        for kind, address in (("sqlite", ""), ("postgresql", url)):
            found = measured(environment(kind, address), rows, report.repeat)
            report.data[kind] = found
            for name, taken in found["seconds"].items():
                report.figure(f"{kind}_{name}", milliseconds(taken), "ms")
            met.append(percentile(found["seconds"]["claim"], 0.95) < TARGET_SECONDS)
    report.data["rows"] = rows
    report.judge(f"claim_p95<{TARGET_SECONDS * 1000:.0f}ms", met=all(met))


def measured(environment: dict[str, str], rows: int, repeat: int) -> dict[str, Any]:
    """Have a process of that database take the figures."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.claims", str(rows), str(repeat)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def measure(rows: int, repeat: int) -> dict[str, Any]:
    """Fill the database of this process and take the figures, in turns."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import transaction
    from django.db.models import F
    from django.db.models.functions import Now

    from tools import many_tasks
    from transcription.models import TranscriptionTask
    from transcription.services import turns
    from transcription.services.held_tasks import TASKS
    from transcription.services.transitions import claims

    Path(settings.DATA_DIR).mkdir(parents=True, exist_ok=True)
    call_command("migrate", verbosity=0)
    owner, *_ = many_tasks.fill(rows, owners=OWNERS, unfinished_share=1.0)
    tasks = TranscriptionTask.objects
    tasks.filter(status=TranscriptionTask.Status.PREPARING).update(
        dispatched_at=F("created_at")
    )
    many_tasks.analyse()
    waiting = tasks.filter(lane__isnull=False)
    found: dict[str, Any] = {
        "waiting": waiting.count(),
        "in_lane": waiting.filter(lane=LANE).count(),
        "seconds": {},
    }

    def claim() -> None:
        chosen = turns.first_in(LANE)
        if chosen is None:
            raise RuntimeError("Nobody waits any more.")
        claims.claim_inference(
            chosen.task_id, owner="bench", only_if=chosen.still_first
        )

    def give_turn() -> None:
        with transaction.atomic():
            turns.next_turn(LANE, owner.pk)

    def claim_by_key() -> None:
        pk = next(keys)
        tasks.filter(pk=pk).values_list("losses", flat=True).first()
        tasks.filter(
            turns.MAY_START,
            pk=pk,
            status=TranscriptionTask.Status.QUEUED,
            lease_token=None,
            cancel_requested_at=None,
        ).update(
            status=TranscriptionTask.Status.PROCESSING,
            lease_token=uuid.uuid4(),
            lease_owner="bench",
            lease_expires_at=TASKS.lease_end(),
            started_at=Now(),
            attempts=F("attempts") + 1,
        )

    last = waiting.filter(lane="small.normal").order_by("-turn")
    keys = iter(list(last.values_list("pk", flat=True)[:repeat]))
    actions: dict[str, Callable[[], object]] = {
        "claim": claim,
        "claim_by_key": claim_by_key,
        "choose": lambda: turns.first_in(LANE),
        "give_turn": give_turn,
    }
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeat):
        for name, action in actions.items():
            taken[name].append(seconds_of(action))
    taken["look_for_gaps"] = [seconds_of(turns.close_gaps)]
    found["seconds"] = taken
    return found


def seconds_of(action: Callable[[], object]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(*map(int, sys.argv[1:]))))
