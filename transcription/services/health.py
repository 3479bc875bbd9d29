"""How the parts of the service are, as seen from a web process.

Only the database decides whether requests can be answered. Without the broker uploads
are still taken, and without a dispatcher jobs still flow: web and media workers send
their own hints. Both are told, and fail nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from transcription.database import despite_conflicts
from transcription.models import DispatcherTick
from transcription.work.publishing import breaker
from whisperhub.redis import NEWS, REDIS_ERRORS, redis_client

logger = logging.getLogger(__name__)

# Beyond the pause between two rounds: one that sends hundreds of hints takes a while.
LATE_SECONDS: Final = 10.0
MISSING_SECONDS: Final = 60.0
# The row of a machine that is gone says nothing any more.
REMEMBERED: Final = timedelta(days=1)
HOST_LENGTH: Final = 191
FAILING_LENGTH: Final = 255
# For how long strangers get the same answer.
RECENT_SECONDS: Final = 1.0


class Health(StrEnum):
    """How one part is."""

    OK = "ok"
    FAILING = "failing"
    LATE = "late"
    MISSING = "missing"
    AWAY = "away"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Readiness:
    """What the service can do now."""

    database: Health
    broker: Health
    dispatcher: Health

    @property
    def is_ready(self) -> bool:
        """Whether requests can be answered."""
        return self.database is Health.OK

    @property
    def status(self) -> str:
        """All in one word: ok, degraded or unavailable."""
        if not self.is_ready:
            return "unavailable"
        parts = {self.database, self.broker, self.dispatcher}
        return "ok" if parts == {Health.OK} else "degraded"


@despite_conflicts
def note_tick(*, failing: Sequence[str] = ()) -> None:
    """Note that a dispatcher of this machine has done a round.

    Args:
        failing: the steps that failed when they last ran.
    """
    host = socket.gethostname()[:HOST_LENGTH]
    names = ",".join(failing)[:FAILING_LENGTH]
    tick = {"pid": os.getpid(), "ticked_at": Now(), "failing": names}
    if not DispatcherTick.objects.filter(host=host).update(**tick):
        DispatcherTick.objects.update_or_create(host=host, defaults=tick)


def forget_old_ticks() -> int:
    """Delete what machines without a dispatcher noted once; returns how many rows."""
    old = DispatcherTick.objects.filter(ticked_at__lt=Now() - REMEMBERED)
    return old.delete()[0]


class RecentReadiness:
    """What was found a moment ago, so that strangers who ask do not cost queries.

    One thread at a time looks, and others get what was found before meanwhile. So a
    database that does not answer holds no more than one of them.
    """

    def __init__(self) -> None:
        """Have found nothing yet."""
        self._looking = threading.Lock()
        self._last: tuple[float, Readiness] | None = None

    def get(self) -> Readiness:
        """How the parts are, or were when somebody last looked."""
        last = self._last
        if last is not None and (
            time.monotonic() - last[0] < RECENT_SECONDS or self._looking.locked()
        ):
            return last[1]
        with self._looking:
            current = self._last
            # Unless another thread has looked meanwhile.
            if current is None or current is last:
                current = self._last = (time.monotonic(), readiness())
            return current[1]

    def forget(self) -> None:
        """Look again when somebody asks."""
        self._last = None


recent_readiness = RecentReadiness()


def readiness() -> Readiness:
    """Look at database, broker and dispatcher."""
    try:
        database, dispatcher = Health.OK, _dispatcher()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Not ready, the database is away: %s", error)
        connection.close()
        database, dispatcher = Health.AWAY, Health.UNKNOWN
    return Readiness(database, _broker(), dispatcher)


def _dispatcher() -> Health:
    """The state of the liveliest dispatcher."""
    ticked = _ticked_within(LATE_SECONDS)
    if ticked.filter(failing="").exists():
        return Health.OK
    if ticked.exists():
        return Health.FAILING
    is_late = _ticked_within(MISSING_SECONDS).exists()
    return Health.LATE if is_late else Health.MISSING


def _ticked_within(seconds: float) -> QuerySet[DispatcherTick]:
    patience = timedelta(seconds=seconds + settings.DISPATCH_SECONDS)
    return DispatcherTick.objects.filter(ticked_at__gt=Now() - patience)


def _broker() -> Health:
    if breaker.is_open():
        return Health.AWAY
    try:
        redis_client(NEWS).ping()
    except REDIS_ERRORS:
        return Health.AWAY
    return Health.OK
