"""Pulls plugs at random: which, when and for how long is drawn from one seed."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, TextIO

from django.conf import settings
from redis.exceptions import RedisError

from tests.chaos.service import Service, family, send
from tools.services import Server

SLOTS: Final = ("one", "two")
# What may be done to what, and how often against the rest.
WEIGHTS: Final = {
    ("kill", "one"): 4,
    ("kill", "two"): 4,
    ("kill", "media"): 4,
    ("kill", "media child"): 4,
    ("kill", "callbacks"): 2,
    ("kill", "dispatcher"): 3,
    ("kill", "web"): 3,
    ("kill", "inference"): 2,
    ("kill", "broker"): 3,
    ("terminate", "one"): 2,
    ("terminate", "two"): 2,
    ("terminate", "media"): 1,
    ("freeze", "one"): 3,
    ("freeze", "two"): 3,
    ("freeze", "media"): 2,
    ("freeze", "callbacks"): 1,
    ("freeze", "dispatcher"): 2,
    ("freeze", "web"): 1,
    ("freeze", "inference"): 1,
    ("freeze", "broker"): 2,
    ("flush", "broker"): 4,
    ("restart", "database"): 3,
    ("kill", "database"): 2,
}
# Some freezes are a mere delay, others outlast a lease.
SHORT_SECONDS: Final = (0.2, 4.0)
LONG_SECONDS: Final = (16.0, 24.0)
LONG_SHARE: Final = 0.3
OUTAGE_SECONDS: Final = (0.5, 6.0)
PAUSE_SECONDS: Final = (2.0, 9.0)
# Nothing but a job's own worker counts as its loss.
HARMS_JOBS: Final = frozenset({*SLOTS, "media", "media child", "inference"})
# A web process that does not answer for long only costs time-outs.
NEVER_LONG: Final = frozenset({"web"})


@dataclass(frozen=True)
class Deed:
    """One thing to do.

    Attributes:
        at: seconds after the beginning.
        seconds: how long a freeze or an outage lasts.
    """

    at: float
    action: str
    target: str
    seconds: float


def draw_deeds(
    rng: random.Random, *, seconds: float, parts: Sequence[str]
) -> list[Deed]:
    """Deeds for so long, on these parts of the stack and what every stack has."""
    possible = {
        pair: weight
        for pair, weight in WEIGHTS.items()
        if pair[1] in parts or pair[1] in (*SLOTS, "media child", "database")
    }
    deeds: list[Deed] = []
    at = 0.0
    while (at := at + rng.uniform(*PAUSE_SECONDS)) < seconds:
        action, target = rng.choices(list(possible), list(possible.values()))[0]
        is_long = rng.random() < LONG_SHARE and target not in NEVER_LONG
        if target == "database":
            length = rng.uniform(*OUTAGE_SECONDS)
        else:
            length = rng.uniform(*(LONG_SECONDS if is_long else SHORT_SECONDS))
        deeds.append(Deed(round(at, 2), action, target, round(length, 2)))
    return deeds


class Monkey:
    """Does what was drawn, when it is due, and writes down what it did.

    Everything happens in the thread that calls `act`, which must be the main one: the
    database server lives as long as the thread that started it.

    Args:
        server: the database's; None: SQLite, which is locked instead.
        log: gets a line of JSON for each deed.
    """

    def __init__(
        self,
        service: Service,
        deeds: Sequence[Deed],
        *,
        server: Server | None,
        log: TextIO,
    ) -> None:
        self._service = service
        self._server = server
        self._log = log
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self.done: list[tuple[float, Deed]] = []
        self._began = time.monotonic()
        for deed in deeds:
            self._later(deed.at, partial(self._do, deed))

    def start(self) -> None:
        """Begin to count time."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self._began

    def act(self) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= self.seconds:
            heapq.heappop(self._due)[2]()

    def finish(self) -> None:
        """End every freeze and outage, and begin nothing more."""
        while self._due:
            _, _, action = heapq.heappop(self._due)
            action()
        self._service.resume_all()

    def harms_between(self, first: float, last: float) -> int:
        """How many deeds may have cost a job its worker, from one time.time() on."""
        return sum(
            first <= moment <= last and deed.target in HARMS_JOBS
            for moment, deed in self.done
        )

    def _later(self, at: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (at, next(self._order), action))

    def _do(self, deed: Deed) -> None:
        try:
            told = self._deeds[deed.action](deed)
        except RedisError as error:
            told = type(error).__name__
        self.done.append((time.time(), deed))
        line = {"time": round(self.seconds, 2), **asdict(deed), "told": told}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()

    @property
    def _deeds(self) -> dict[str, Callable[[Deed], str]]:
        return {
            "kill": self._kill,
            "terminate": self._terminate,
            "freeze": self._freeze,
            "flush": self._flush,
            "restart": self._restart,
        }

    def _kill(self, deed: Deed) -> str:
        if deed.target == "database":
            return self._restart(deed)
        pids = self._pids(deed.target)
        send(pids, signal.SIGKILL)
        return f"{len(pids)} processes"

    def _terminate(self, deed: Deed) -> str:
        pids = self._pids(deed.target)
        send(pids[:1], signal.SIGTERM)
        return f"{len(pids)} processes"

    def _freeze(self, deed: Deed) -> str:
        pids = self._pids(deed.target)
        send(pids, signal.SIGSTOP)
        self._later(self.seconds + deed.seconds, lambda: send(pids, signal.SIGCONT))
        return f"{len(pids)} processes"

    def _flush(self, deed: Deed) -> str:
        return f"{self._service.broker.flushall()}"

    def _restart(self, deed: Deed) -> str:
        if self._server is None:
            return self._lock(deed)
        if deed.action == "kill":
            self._server.kill()
        else:
            self._server.stop()
        time.sleep(deed.seconds)
        self._server.start()
        return "back"

    def _lock(self, deed: Deed) -> str:
        """Keep every writer out, as a slow backup would."""
        path = settings.DATABASES["default"]["NAME"]
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as held:
            try:
                held.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                return str(error)
            time.sleep(deed.seconds)
            held.execute("ROLLBACK")
        return "unlocked"

    def _pids(self, target: str) -> list[int]:
        """The processes of a target; none of one that is down just now."""
        if target in SLOTS:
            pid = self._service.slot_pids().get(target)
            return [] if pid is None else family(pid)
        if target == "media child":
            pid = self._service.stack.pids().get("media")
            return [] if pid is None else family(pid)[-1:]
        pid = self._service.stack.pids().get(target)
        if pid is None:
            return []
        # A launcher's slots are told by the kernel and by its guard.
        return [pid] if target == "inference" else family(pid)


def describe(deeds: Sequence[Deed]) -> dict[str, int]:
    """How many deeds of each kind."""
    return dict(Counter(f"{deed.action} {deed.target}" for deed in deeds))
