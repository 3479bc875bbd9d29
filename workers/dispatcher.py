"""The dispatcher: sends what no hint was sent for, takes back what no worker holds.

A loop of its own on database and broker, so that it works when Celery does not. Any
number may run: each step is a conditional UPDATE. A step that fails keeps no other from
running, and `/readyz` tells of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, Final

from django.conf import settings

from accounts import usage
from transcription.database import is_outage
from transcription.models import TranscriptionTask
from transcription.services import (
    ageing,
    callback_secrets,
    callbacks,
    health,
    idempotency,
    retention,
    turns,
)
from transcription.services.callbacks import CALLBACKS
from transcription.services.held_tasks import TASKS
from transcription.services.transitions.changes import Outcome
from transcription.work.kinds import WorkKind
from whisperhub.edges import Edge, failure_count, guarded
from whisperhub.redis import REDIS_ERRORS

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 600.0
# Ageing looks at every waiting task, and minutes are what it counts in.
AGEING_LOOK_SECONDS: Final = 10.0
# So do gaps between turns.
GAPS_LOOK_SECONDS: Final = 10.0
# When room is short, uploads are refused until kept ones were looked at.
EXPIRY_SECONDS: Final = 10.0
# A step that failed does not rest as long as one that has done its work.
REPEAT_SECONDS: Final = 30.0


@dataclass
class Step:
    """One thing that the dispatcher does.

    Attributes:
        name: in the log and in the dispatcher's row.
        run: does it.
        every_seconds: how long it rests; 0: it is due in every round.
        due_at: of the monotonic clock.
    """

    name: str
    run: Callable[[], object]
    every_seconds: float = 0.0
    due_at: float = 0.0

    def begin(self, now: float) -> bool:
        """Whether it is due; if so, the next time is set."""
        if now < self.due_at:
            return False
        self.due_at = now + self.every_seconds
        return True

    def repeat_soon(self, now: float) -> None:
        """Have it run again before its time, since it failed."""
        self.due_at = min(self.due_at, now + REPEAT_SECONDS)


class Dispatcher:
    """One dispatcher process; `run` returns when `stop` is set."""

    def __init__(self) -> None:
        """Make a dispatcher that has not ticked yet."""
        self.stop = Event()
        self._expire_from = 0.0
        self._steps = self._all_steps()
        # The steps that failed when they last ran.
        self._failing: set[str] = set()

    def _all_steps(self) -> list[Step]:
        return [
            *(
                Step(f"take_{kind.name}s_back", partial(self.take_back_expired, kind))
                for kind in KINDS
            ),
            Step(
                "raise_aged",
                ageing.raise_aged,
                min(AGEING_LOOK_SECONDS, settings.AGEING_SECONDS),
            ),
            Step("close_gaps", turns.close_gaps, GAPS_LOOK_SECONDS),
            *(
                Step(
                    f"find_lost_{kind.name}_hints", partial(self.find_lost_hints, kind)
                )
                for kind in KINDS
            ),
            *(
                Step(f"send_hints_of_{kind.name}s", partial(_send_unsent, kind))
                for kind in KINDS
            ),
            Step(
                "discard_media",
                retention.discard_expired_media,
                EXPIRY_SECONDS,
            ),
            *(
                Step(run.__name__, run, SWEEP_SECONDS)
                for run in (
                    retention.sweep,
                    retention.delete_old_celery_results,
                    idempotency.delete_expired_keys,
                    callbacks.delete_old_tests,
                    callback_secrets.delete_expired,
                    health.forget_old_ticks,
                    usage.delete_old,
                )
            ),
        ]

    def run(self) -> None:
        """Tick until told to stop."""
        logger.info("Dispatcher started")
        while not self.stop.is_set():
            self.tick()
            self.stop.wait(settings.DISPATCH_SECONDS)
        logger.info("Dispatcher stopped")

    def tick(self) -> None:
        """Do everything that is due, each step by itself, and note the round."""
        for step in self._steps:
            if not self._do(step):
                # The other steps would each wait for the same database.
                return
        with guarded(Edge.TICK_STEP, "note_tick"):
            health.note_tick(failing=sorted(self._failing))

    def _do(self, step: Step) -> bool:
        """Run a step if it is due; False: the database is away."""
        now = time.monotonic()
        if not step.begin(now):
            return True
        failures = failure_count()
        with guarded(Edge.TICK_STEP, step.name) as passage:
            step.run()
        if failure_count() == failures:
            self._failing.discard(step.name)
            return True
        step.repeat_soon(now)
        if passage.error is not None and is_outage(passage.error):
            # Workers could not renew their leases either: give them the time.
            self._expire_from = time.monotonic() + settings.LEASE_SECONDS
            return False
        self._failing.add(step.name)
        return True

    def take_back_expired(self, kind: WorkKind[Any]) -> int:
        """Take rows back from silent processes; returns how many.

        None for a while after the database was away.
        """
        if time.monotonic() < self._expire_from:
            return 0
        return kind.take_back_expired(then=KINDS[kind])

    def find_lost_hints(self, kind: WorkKind[Any]) -> int:
        """Look for rows whose hint is no longer in the broker; returns how many."""
        try:
            return kind.forget_lost_hints()
        except REDIS_ERRORS as error:
            logger.debug("Lost hints of %ss cannot be looked for: %s", kind.name, error)
            return 0


def _send_unsent(kind: WorkKind[Any]) -> int:
    return kind.send_unsent()


def _conclude(task: TranscriptionTask, outcome: str) -> None:
    if outcome != Outcome.RETRIED:
        retention.conclude(task, outcome)


# What is claimed, held and hinted, and what a row that was taken back calls for.
KINDS: Final[dict[WorkKind[Any], Callable[[Any, str], None] | None]] = {
    TASKS: _conclude,
    CALLBACKS: None,
}
