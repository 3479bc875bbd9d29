"""One random run: load and harm together, then rest, then the books."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connection
from tqdm import tqdm

from tests.chaos import moves
from tests.chaos.books import Balance, Books
from tests.chaos.load import FAILURES, WEIGHTS, Load, content, draw_orders
from tests.chaos.monkey import Monkey, describe, draw_deeds
from tests.chaos.receiver import MoodyReceiver
from tests.chaos.service import WITHOUT_FLOWER, Service
from tools.services import Server
from transcription.models import Callback, Transcript, TranscriptionTask

TURN_SECONDS: Final = 0.1
# Retries of callbacks must not take hours here.
VARIABLES: Final = {"WHISPERHUB_CALLBACK_DELAYS": "1,2,4,8,8,8,8,8,8,8,8,8,8,8,8"}


def run(
    folder: Path,
    server: Server | None,
    rng: random.Random,
    *,
    seconds: float,
    pause_seconds: float,
    settle_seconds: float,
    out: Path,
) -> Balance:
    """Run for so long and come to rest; returns what the books say.

    Args:
        folder: of the service's data.
        server: the database's; None: SQLite.
        rng: decides on everything that is left to chance.
        seconds: of load and harm.
        pause_seconds: between requests, on average.
        settle_seconds: until all must have ended.
        out: where the log of deeds goes, and the service's log if the books are not
            even; without a suffix.
    """
    # Each has a generator of its own: threads must not change what another one draws.
    orders = draw_orders(
        random.Random(rng.getrandbits(64)),
        seconds=seconds,
        pause_seconds=pause_seconds,
    )
    deeds = draw_deeds(
        random.Random(rng.getrandbits(64)), seconds=seconds, parts=WITHOUT_FLOWER
    )
    print(f"chaos: {len(orders)} requests; {len(deeds)} deeds: {describe(deeds)}")
    with ExitStack() as resources:
        receiver = resources.enter_context(
            closing(MoodyReceiver(random.Random(rng.getrandbits(64))))
        )
        log = resources.enter_context(out.with_suffix(".jsonl").open("w"))
        service = resources.enter_context(
            Service(
                folder,
                database_url=server.url if server else "",
                variables=VARIABLES,
            )
        )
        texts = undisturbed_texts(service)
        moves.write_down("default")
        load = Load(service, orders, receiver.url_for)
        monkey = Monkey(service, deeds, server=server, log=log)
        load.start()
        monkey.start()
        total, shown = round(seconds), 0
        with tqdm(total=total, desc="chaos", unit="s", disable=None) as bar:
            while monkey.seconds < seconds:
                monkey.act()
                passed = min(int(monkey.seconds), total)
                bar.update(passed - shown)
                shown = passed
                time.sleep(TURN_SECONDS)
        monkey.finish()
        load.join()
        settled = settle(service, settle_seconds)
        settle_callbacks(settle_seconds)
        balance = Books(
            load.sent, texts=texts, monkey=monkey, receiver=receiver
        ).balance()
        for name in set(service.slot_names()):
            # One that was told to end a moment ago is pausing before its next start.
            try:
                service.wait_for_slot(name)
            except AssertionError:
                balance.faults.append(f"The slot {name} did not come back.")
        answers = sorted(sent.seconds for sent in load.sent if sent.task_id)
        unanswered = len(load.sent) - len(answers)
        print(
            f"chaos: unanswered={unanswered} slowest_answer="
            f"{answers[-1] if answers else 0:.1f}s unlucky={balance.unlucky} "
            f"swept={balance.swept} settled_after={settled:.0f}s"
        )
        if not balance.is_even:
            out.with_suffix(".log").write_text(service.whole_log())
    return balance


def undisturbed_texts(service: Service) -> dict[str, str]:
    """What is heard in each kind of recording while all is well."""
    kinds = [kind for kind in WEIGHTS if kind not in FAILURES]
    ids = {kind: service.submit(content(kind)) for kind in kinds}
    service.wait_for_status(list(ids.values()), TranscriptionTask.Status.COMPLETED)
    return {
        kind: Transcript.objects.get(task__public_id=task_id).text
        for kind, task_id in ids.items()
    }


def settle(service: Service, seconds: float) -> float:
    """Wait until every task has ended; how long that took, at most so long."""
    unfinished = TranscriptionTask.objects.exclude(status__in=TranscriptionTask.FINAL)
    return _wait_for_none(unfinished, seconds, "settling")


def settle_callbacks(seconds: float) -> None:
    """Wait until every callback was delivered, or given up."""
    waiting = Callback.objects.filter(
        state__in=[Callback.State.PENDING, Callback.State.DELIVERING]
    )
    _wait_for_none(waiting, seconds, "callbacks")


def _wait_for_none(rows: Any, seconds: float, what: str) -> float:
    began = time.monotonic()
    with tqdm(desc=what, unit=" left", disable=None) as bar:
        while (passed := time.monotonic() - began) < seconds:
            try:
                left = rows.count()
            except (DatabaseError, InterfaceError):
                connection.close()
                left = -1
            bar.n = left
            bar.refresh()
            if left == 0:
                break
            time.sleep(TURN_SECONDS * 5)
    return passed
