"""A steady load: what is sent when, drawn beforehand, and what came of each request."""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import requests
from django.db import DatabaseError, InterfaceError, connection

from tests.chaos.deadly import DEADLY_FILE
from tests.chaos.service import Service
from tests.support.recordings import RECORDINGS, read_recording, silence, to_wav
from transcription.models import TranscriptionTask
from transcription.services.cancellation import cancel_task
from whisperhub.queues import PRIORITIES

GARBAGE: Final = "garbage"
DEADLY: Final = "deadly"
LONG: Final = "long"
# What a file that is not speech fails with.
FAILURES: Final = {GARBAGE: "invalid_media", DEADLY: "worker_lost"}
# How often each kind is sent, against the others.
WEIGHTS: Final = {**dict.fromkeys(RECORDINGS, 8), LONG: 8, GARBAGE: 2, DEADLY: 1}
CANCELLED_SHARE: Final = 0.15
CALLBACK_SHARE: Final = 0.5
# Requests wait for a web process that is frozen; others go on meanwhile.
CLIENTS: Final = 6
REPEATS: Final = 6


@functools.cache
def content(kind: str) -> bytes:
    """The file of a kind."""
    if kind == GARBAGE:
        return b"This is no sound."
    if kind == DEADLY:
        return DEADLY_FILE
    if kind == LONG:
        # Long enough that something often dies while it is worked on.
        parts = [read_recording("en"), silence(1.5)] * REPEATS
        return to_wav(np.concatenate(parts))
    return RECORDINGS[kind].path.read_bytes()


@dataclass(frozen=True)
class Order:
    """One request to send.

    Attributes:
        at: seconds after the beginning.
        cancel_after: seconds until it is cancelled; None: it is not.
    """

    number: int
    at: float
    kind: str
    priority: str
    cancel_after: float | None
    wants_callback: bool

    @property
    def file_name(self) -> str:
        """How its row is found, whether the answer came or not."""
        return f"chaos-{self.number:06}.wav"


def draw_orders(
    rng: random.Random, *, seconds: float, pause_seconds: float
) -> list[Order]:
    """Requests for so long, so many seconds apart on average."""
    orders: list[Order] = []
    at = 0.0
    while (at := at + rng.uniform(0, 2 * pause_seconds)) < seconds:
        orders.append(
            Order(
                number=len(orders),
                at=at,
                kind=rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0],
                priority=rng.choice(PRIORITIES),
                cancel_after=(
                    rng.uniform(0, 4) if rng.random() < CANCELLED_SHARE else None
                ),
                wants_callback=rng.random() < CALLBACK_SHARE,
            )
        )
    return orders


@dataclass
class Sent:
    """What came of one order.

    Attributes:
        task_id: empty: no answer came that names one.
        status_code: of the answer; 0: none came.
        seconds: until the answer, or until there was none.
    """

    order: Order
    task_id: str = ""
    status_code: int = 0
    seconds: float = 0.0
    cancelled: bool = field(default=False)


class Load:
    """Sends orders to a service in threads of its own.

    Args:
        callback_url: makes the address that a submission gives.
    """

    def __init__(
        self,
        service: Service,
        orders: Sequence[Order],
        callback_url: Callable[[str], str],
    ) -> None:
        self._service = service
        self._orders = orders
        self._callback_url = callback_url
        self.sent: list[Sent] = []
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="load")

    def start(self) -> None:
        """Begin to send."""
        self._began = time.monotonic()
        self._thread.start()

    def join(self) -> None:
        """Return when the last answer has come, or the last time-out."""
        self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            for order in self._orders:
                time.sleep(max(0.0, self._began + order.at - time.monotonic()))
                pool.submit(self._send, order)

    def _send(self, order: Order) -> None:
        sent = Sent(order)
        self.sent.append(sent)
        began = time.monotonic()
        fields: dict[str, Any] = {"priority": order.priority}
        if order.wants_callback:
            fields["callback_url"] = self._callback_url(order.file_name)
        try:
            answer = self._service.post(
                content(order.kind), file_name=order.file_name, **fields
            )
        except requests.RequestException:
            return
        finally:
            sent.seconds = time.monotonic() - began
        sent.status_code = answer.status_code
        if answer.status_code != requests.codes.created:
            return
        sent.task_id = answer.json()["id"]
        if order.cancel_after is not None:
            time.sleep(order.cancel_after)
            sent.cancelled = self._cancel(sent.task_id)

    def _cancel(self, task_id: str) -> bool:
        """Cancel a task as the admin does; False if the database was away."""
        try:
            return cancel_task(TranscriptionTask.objects.get(public_id=task_id))
        except (DatabaseError, InterfaceError):
            return False
        finally:
            connection.close()
