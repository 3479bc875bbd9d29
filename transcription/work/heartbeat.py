"""The leases this process holds, of all kinds of work, renewed by one thread."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.conf import settings
from django.db import connection

from transcription.database import PATIENCE_SECONDS, persistently
from transcription.errors import TaskCancelledError
from transcription.work.kinds import Lease, WorkKind
from whisperhub.edges import Edge, guarded
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")


class HeldLease:
    """One lease while its job runs; tells the job when to stop.

    Made by `hold`. The heartbeat thread sets `lost` and `cancel_requested`, the job
    reads them between its steps.
    """

    def __init__(self, lease: Lease) -> None:
        """Hold a lease that was just claimed."""
        self.lease = lease
        self.lost = threading.Event()
        self.cancel_requested = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Have something called once the job is to stop; at once if it is already."""
        with self._lock:
            self._callbacks.append(callback)
            stopping = self.should_stop()
        if stopping:
            callback()

    def stop(self, reason: threading.Event) -> None:
        """Tell the job to stop, because the lease is lost or its client wants it."""
        if reason.is_set():
            return
        with self._lock:
            reason.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            # The heartbeat calls it, and has other leases to renew.
            with guarded(Edge.STOP_CALLBACK, about=self.lease):
                callback()

    def should_stop(self) -> bool:
        """Whether the job is to end without a result."""
        return self.lost.is_set() or self.cancel_requested.is_set()

    def check_lost(self) -> None:
        """Stop the job if its row is no longer ours.

        Raises:
            LeaseLostError: it is not.
        """
        if self.lost.is_set():
            raise self.lease.lost_error()

    def check(self) -> None:
        """Go on, or stop the job.

        Raises:
            LeaseLostError: its row is no longer ours.
            TaskCancelledError: its client withdrew it.
        """
        self.check_lost()
        if self.cancel_requested.is_set():
            raise TaskCancelledError(Sentence("The task was cancelled."))

    def apply(
        self,
        arrow: Callable[Concatenate[Lease, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Change the row under this lease, however often the database is restarted.

        Args:
            arrow: a change that carries the lease in its WHERE, so that repeating it
                is safe.
            args: of the arrow, behind the lease.
            kwargs: likewise.

        Raises:
            LeaseLostError: the lease is no longer ours.
        """
        return self.apply_within(PATIENCE_SECONDS, arrow, *args, **kwargs)

    def apply_within(
        self,
        seconds: float,
        arrow: Callable[Concatenate[Lease, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same, and give up when the database was away for so long."""
        return persistently(
            partial(arrow, self.lease, *args, **kwargs), seconds=seconds
        )


class Heartbeat:
    """Renews the leases of this process, and whatever else must beat with them.

    One thread per process with a database connection of its own; it starts with the
    first lease or the first `also` and lives as long as the process.

    Attributes:
        owner: who this process is in the rows it holds; an inference worker puts its
            slot's name there.
    """

    def __init__(self) -> None:
        """Make a heart that does not beat yet."""
        self.owner = f"media@{socket.gethostname()}/{os.getpid()}"
        self._lock = threading.Lock()
        self._held: dict[uuid.UUID, HeldLease] = {}
        self._extras: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    @property
    def held_count(self) -> int:
        """How many jobs this process runs now."""
        with self._lock:
            return len(self._held)

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[HeldLease]:
        """Keep a lease alive for as long as the block runs."""
        held = HeldLease(lease)
        with self._lock:
            self._held[lease.token] = held
        self._start()
        try:
            yield held
        finally:
            with self._lock:
                del self._held[lease.token]

    def also(self, beat: Callable[[], None]) -> None:
        """Call something at every beat, in the heartbeat's thread."""
        self._extras.append(beat)
        self._start()

    def beat(self) -> None:
        """Renew everything once; what fails is tried again with the next beat.

        A lease outlives several beats.
        """
        self._renew_all()
        for extra in self._extras:
            with guarded(Edge.BEAT, f"of {extra.__qualname__}"):
                extra()

    def _renew_all(self) -> None:
        with self._lock:
            held = list(self._held.values())
        kinds: defaultdict[WorkKind[Any], list[HeldLease]] = defaultdict(list)
        for holder in held:
            kinds[holder.lease.kind].append(holder)
        for kind, holders in kinds.items():
            # What cannot be renewed is tried again with the next beat.
            with guarded(Edge.BEAT, "of leases", about=kind.name):
                self._renew(kind, holders)

    def _renew(self, kind: WorkKind[Any], held: list[HeldLease]) -> None:
        standing = kind.renew([holder.lease for holder in held])
        for holder in held:
            if holder.lease.token not in standing:
                holder.stop(holder.lost)
            elif standing[holder.lease.token]:
                holder.stop(holder.cancel_requested)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="heartbeat", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        try:
            while not self._wake.wait(settings.HEARTBEAT_SECONDS):
                self.beat()
        finally:
            connection.close()


heartbeat = Heartbeat()
