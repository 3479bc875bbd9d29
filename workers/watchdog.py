"""Ends an inference process whose model does not answer any more.

A native call cannot be stopped from outside, and all jobs of the process wait for the
same model. Only a new process helps. The jobs that the call works for count a loss
each, as if it had killed the process; the others go back unharmed.

A library that hangs with Python's lock in its hands stops this thread too. Then the
heartbeat is silent as well, and the jobs are taken back by their leases.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from celery.worker import state as celery_state

from transcription.database import by_itself, persistently
from transcription.engines.base import Engine, ModelCall
from transcription.errors import LeaseLostError
from transcription.models import TranscriptionTask
from transcription.services import retention, turns
from transcription.services.admission import admission
from transcription.services.execution import JobReporter
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import lost_workers, release
from transcription.services.transitions.changes import Outcome
from transcription.work.heartbeat import heartbeat
from transcription.work.kinds import Lease
from whisperhub.edges import Edge, guarded

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The launcher starts the slot again.
STUCK_STATUS: Final = 6
LONGEST_PAUSE_SECONDS: Final = 1.0
LOOKS_IN_LIMIT: Final = 10
# Whoever waits longer for the database leaves the rest to the launcher.
PATIENCE_SECONDS: Final = 10.0


class Watchdog:
    """Watches the model of this process from a thread of its own.

    Args:
        engine: has its model loaded.
        limit_seconds: how long one call of the model may take.
        end: ends the process with a status, at once.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        limit_seconds: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Watch nothing yet."""
        self._engine = engine
        self._limit_seconds = limit_seconds
        self._end = end
        self._pause_seconds = min(LONGEST_PAUSE_SECONDS, limit_seconds / LOOKS_IN_LIMIT)
        self._seen: ModelCall | None = None
        self._seconds = 0.0

    def start(self) -> None:
        """Watch until the process ends."""
        threading.Thread(target=self.run, name="watchdog", daemon=True).start()

    def run(self) -> None:
        """Look until a call is stuck; then put the jobs back and end the process."""
        while (stuck := self._look()) is None:
            time.sleep(self._pause_seconds)
        logger.critical(
            "A call of the model has not returned for %g s: the process ends",
            self._limit_seconds,
        )
        try:
            # What does not go back here is left to the launcher.
            with guarded(Edge.WATCHDOG, "at putting jobs back"):
                put_jobs_back(stuck)
        finally:
            logging.shutdown()
            self._end(STUCK_STATUS)

    def _look(self) -> ModelCall | None:
        with guarded(Edge.WATCHDOG, "at a look"):
            return self.look()
        return None

    def look(self) -> ModelCall | None:
        """The call under way, if it was seen for longer than the limit.

        Only time that this thread has seen pass counts: a process that was frozen for
        an hour has a call that began an hour ago, and is well.
        """
        call, before = self._engine.model_call, self._seen
        self._seen = call
        if call is None or before is None or call.began_at != before.began_at:
            self._seconds = 0.0
            return None
        self._seconds += self._pause_seconds
        return call if self._seconds >= self._limit_seconds else None


def put_jobs_back(stuck: ModelCall) -> None:
    """Return all jobs of this process, and count a loss for those of a stuck call.

    No hints are sent: this process is still there and would take them. The dispatcher
    sends them when it is gone.
    """
    admission.close()
    guilty = {
        job.held.lease.token for job in stuck.jobs if isinstance(job, JobReporter)
    }
    held: Any = TranscriptionTask.objects.filter(
        lease_owner=heartbeat.owner, lease_token__isnull=False
    )
    tasks: list[Any] = _in_time(partial(list, held))
    for task in tasks:
        lease = TASKS.lease(task.pk, task.lease_token)
        # A call that is nobody's may be anybody's.
        is_guilty = not guilty or lease.token in guilty
        outcome = _in_time(partial(_convict if is_guilty else _acquit, lease))
        logger.warning("Task %s: back from a stuck model, %s", task.public_id, outcome)
        if outcome in {Outcome.FAILED, Outcome.CANCELLED}:
            with by_itself("putting jobs back", task.public_id):
                retention.conclude(task, outcome)
    unused = Counter(_lanes_of_messages())
    unused.subtract(turns.lane_of(task) for task in tasks)
    for lane, hints in (+unused).items():
        _in_time(partial(TASKS.forget_hints, lane, hints))


def _convict(lease: Lease) -> Outcome:
    return lost_workers.count_loss(lease) or Outcome.LOST


def _acquit(lease: Lease) -> Outcome:
    try:
        return release.hand_back(lease)
    except LeaseLostError:
        return Outcome.LOST  # It ended in this moment.


def _in_time(action: Callable[[], T]) -> T:
    return persistently(action, seconds=PATIENCE_SECONDS)


def _lanes_of_messages() -> list[str]:
    """Of each hint that this process took, the lane; some led to no claim yet."""
    return [request.args[0] for request in tuple(celery_state.reserved_requests)]
