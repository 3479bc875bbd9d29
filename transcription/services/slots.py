"""The slot table: each inference process says what it holds and that it lives."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import uuid
from datetime import timedelta
from typing import Any

import psutil
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from transcription.database import by_itself, despite_outages
from transcription.engines.base import ModelInfo
from transcription.engines.plan import SlotPlan
from transcription.models import TranscriptionTask, WorkerSlot
from transcription.services import retention
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import lost_workers
from transcription.services.transitions.changes import Outcome
from transcription.work.heartbeat import heartbeat
from whisperhub.sentences import Sentence, parts_of

logger = logging.getLogger(__name__)

State = WorkerSlot.State


class SlotTakenError(Exception):
    """Another living process has this slot's name."""


class SlotRecord:
    """This process's row in the slot table.

    Made by `register`. The heartbeat's thread and the main thread both write it; every
    write names the boot id, so that a process that was replaced changes nothing.
    """

    def __init__(self, name: str, boot_id: uuid.UUID) -> None:
        """Stand for one start of one slot."""
        self.name = name
        self.boot_id = boot_id
        # Set when the process ends for its own sake and wants to be started again.
        self.draining = threading.Event()
        self._process = psutil.Process()

    @property
    def owner(self) -> str:
        """Who holds the leases of this process."""
        return f"{self.name}/{self.boot_id}"

    def beat(self) -> None:
        """Say that the process lives, and what it does."""
        memory_bytes = self._process.memory_info().rss
        self._write(running_jobs=heartbeat.held_count, memory_bytes=memory_bytes)
        limit = settings.SLOT_MEMORY_BYTES
        if limit and memory_bytes > limit and not self.draining.is_set():
            self.drain(
                Sentence(
                    "{bytes} bytes are above WHISPERHUB_SLOT_MEMORY_LIMIT.",
                    bytes=memory_bytes,
                )
            )

    def drain(self, reason: str) -> None:
        """Take no more jobs, finish those that run, and be started anew."""
        logger.warning("Slot %s: draining, %s", self.name, reason)
        self.draining.set()
        self._write(state=State.DRAINING, **_message(reason))
        os.kill(os.getpid(), signal.SIGTERM)

    @despite_outages
    def ready(self, info: ModelInfo) -> None:
        """Say that the model is loaded and jobs are taken."""
        self._write(
            state=State.READY,
            model_revision=info.revision,
            compute_type=info.compute_type,
            notice=str(info.notice),
            languages=list(info.languages),
            **_message(""),
        )

    @despite_outages
    def fail(self, message: str) -> None:
        """Say why the model cannot be served."""
        self._write(state=State.FAILED, **_message(message))

    def stop(self) -> None:
        """Say that the process ends by itself."""
        self._write(state=State.STOPPED, running_jobs=0)

    def _write(self, **changes: object) -> None:
        WorkerSlot.objects.filter(name=self.name, boot_id=self.boot_id).update(
            last_seen_at=Now(), **changes
        )


def _message(said: str) -> dict[str, object]:
    return {"message": str(said), "message_parts": parts_of(said)}


def slot_name(name: str) -> str:
    """A slot's name among all machines: also its Celery node name."""
    return f"{name}@{socket.gethostname()}"


def register(plan: SlotPlan) -> SlotRecord:
    """Enter this process into the slot table, in place of its dead predecessor.

    Jobs that the predecessor still held go back to the queue at once: a slot that
    starts cannot be running anything.

    Raises:
        SlotTakenError: the predecessor lives.
    """
    name, boot_id = slot_name(plan.name), uuid.uuid4()

    _enter(name, _present(plan, boot_id))
    despite_outages(release_jobs)(f"{name}/")
    return SlotRecord(name, boot_id)


def _present(plan: SlotPlan, boot_id: uuid.UUID) -> dict[str, Any]:
    """The columns of a slot whose process has just started."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "boot_id": boot_id,
        "device": plan.device,
        "compute_type": plan.compute_type,
        "engine": plan.engine,
        "model": plan.model,
        "model_revision": "",
        "notice": "",
        "languages": [],
        "state": State.LOADING,
        **_message(""),
        "running_jobs": 0,
        "memory_bytes": 0,
        "started_at": Now(),
        "last_seen_at": Now(),
    }


@despite_outages
def _enter(name: str, present: dict[str, Any]) -> None:
    """Write the row of a slot.

    Raises:
        SlotTakenError: its process lives.
    """
    try:
        _insert_or_replace(name, present)
    except IntegrityError:
        # Another process has made the row in this moment.
        _insert_or_replace(name, present)


def _insert_or_replace(name: str, present: dict[str, Any]) -> None:
    with transaction.atomic():
        # Of two that start at once the second waits here, and finds the first.
        row = WorkerSlot.objects.select_for_update().filter(name=name)
        if found := row.first():
            _refuse_living(found)
            WorkerSlot.objects.filter(pk=found.pk).update(**present)
        else:
            WorkerSlot.objects.create(name=name, **present)


def _refuse_living(row: WorkerSlot) -> None:
    grace = timedelta(seconds=settings.LEASE_SECONDS)
    is_fresh = WorkerSlot.objects.filter(
        pk=row.pk, last_seen_at__gt=Now() - grace
    ).exists()
    if not is_fresh or row.state in (State.STOPPED, State.FAILED):
        return
    here = row.host == socket.gethostname()
    if here and (row.pid == os.getpid() or not psutil.pid_exists(row.pid)):
        return
    raise SlotTakenError(
        f"The slot {row.name} is served by process {row.pid} on {row.host}. "
        "Give this one another name in WHISPERHUB_SLOTS."
    )


def release_jobs(owner_prefix: str) -> int:
    """Take back the jobs of dead processes, and wake others for them.

    Returns:
        How many jobs were taken back.
    """
    released = 0
    held = TranscriptionTask.objects.filter(
        lease_owner__startswith=owner_prefix, lease_token__isnull=False
    )
    for task in held.only("pk", "public_id", "source", "lease_token"):
        with by_itself("releasing jobs", task.public_id):
            token = task.lease_token
            outcome = token and lost_workers.take_back(
                task.pk, token, only_expired=False
            )
            if not outcome:
                continue
            released += 1
            if outcome is Outcome.RETRIED:
                TASKS.send_hint(task.pk)
            else:
                retention.conclude(task, outcome)
    if released:
        logger.warning("Took back %d jobs of %s", released, owner_prefix)
    return released
