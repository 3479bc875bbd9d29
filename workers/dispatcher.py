"""The dispatcher: sends what no hint was sent for, takes back what no worker holds.

A loop of its own on database and broker, so that it works when Celery does not. Any
number may run: each step is a conditional UPDATE.
"""

from __future__ import annotations

import logging
import time
from threading import Event
from typing import Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Case, IntegerField, Value, When
from django.db.models.functions import Now
from redis.exceptions import RedisError

from accounts import usage
from transcription.models import TranscriptionTask
from transcription.services import (
    ageing,
    callback_secrets,
    callbacks,
    health,
    hints,
    idempotency,
    lost_hints,
    publishing,
    retention,
    transitions,
    turns,
)
from whisperhub.queues import PRIORITIES

logger = logging.getLogger(__name__)

Status = TranscriptionTask.Status

# Rows handled by one step: a long backlog must not keep the other steps waiting.
BATCH: Final = 500
SWEEP_SECONDS: Final = 600.0
# How often callbacks are compared with their messages one by one; if there are fewer
# messages than callbacks, that is done in every round.
SEARCH_SECONDS: Final = 30.0
# Ageing looks at every waiting task, and minutes are what it counts in.
AGEING_LOOK_SECONDS: Final = 10.0
# So do gaps between turns.
GAPS_LOOK_SECONDS: Final = 10.0
# When room is short, uploads are refused until kept ones were looked at.
EXPIRY_SECONDS: Final = 10.0

PRIORITY_RANK: Final = Case(
    *(
        When(effective_priority=priority, then=Value(rank))
        for rank, priority in enumerate(PRIORITIES)
    ),
    output_field=IntegerField(),
)


class Dispatcher:
    """One dispatcher process; `run` returns when `stop` is set."""

    def __init__(self) -> None:
        """Make a dispatcher that has not ticked yet."""
        self.stop = Event()
        self._expire_from = 0.0
        self._sweep_at = time.monotonic()
        self._search_at = time.monotonic()
        self._age_at = time.monotonic()
        self._close_gaps_at = time.monotonic()
        self._expire_media_at = time.monotonic()

    def run(self) -> None:
        """Tick until told to stop."""
        logger.info("Dispatcher started")
        while not self.stop.is_set():
            try:
                self.tick()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("Dispatcher cannot reach the database: %s", error)
                connection.close()
                # Workers could not renew their leases either: give them the time.
                self._expire_from = time.monotonic() + settings.LEASE_SECONDS
            self.stop.wait(settings.DISPATCH_SECONDS)
        logger.info("Dispatcher stopped")

    def tick(self) -> None:
        """Do everything that is due."""
        if time.monotonic() >= self._expire_from:
            self.take_back_expired()
            callbacks.take_back_expired()
        self.raise_aged()
        self.close_gaps()
        self.find_lost_hints()
        self.send_held_back()
        callbacks.send_due()
        if time.monotonic() >= self._expire_media_at:
            self._expire_media_at = time.monotonic() + EXPIRY_SECONDS
            retention.discard_expired_media()
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_SECONDS
            retention.sweep()
            retention.delete_old_celery_results()
            idempotency.delete_expired_keys()
            callbacks.delete_old_tests()
            callback_secrets.delete_expired()
            health.forget_old_ticks()
            usage.delete_old()
        health.note_tick()

    def raise_aged(self) -> int:
        """Raise tasks that waited too long, now and then; returns how many."""
        if time.monotonic() < self._age_at:
            return 0
        pause = min(AGEING_LOOK_SECONDS, settings.AGEING_SECONDS)
        self._age_at = time.monotonic() + pause
        return ageing.raise_aged()

    def close_gaps(self) -> int:
        """Close gaps between the turns of owners, now and then; returns how many."""
        if time.monotonic() < self._close_gaps_at:
            return 0
        self._close_gaps_at = time.monotonic() + GAPS_LOOK_SECONDS
        return turns.close_gaps()

    def find_lost_hints(self) -> int:
        """Look for rows whose hint is nowhere any more; returns how many."""
        thoroughly = time.monotonic() >= self._search_at
        if thoroughly:
            self._search_at = time.monotonic() + SEARCH_SECONDS
        try:
            return lost_hints.forget_lost_hints(thoroughly=thoroughly)
        except (RedisError, OSError) as error:
            logger.debug("Lost hints cannot be looked for: %s", error)
            return 0

    def take_back_expired(self) -> int:
        """Put the tasks of silent workers back; returns how many."""
        expired = TranscriptionTask.objects.filter(lease_expires_at__lt=Now()).order_by(
            "lease_expires_at"
        )[:BATCH]
        taken = 0
        for task in expired.only("pk", "public_id", "lease_token", "lease_owner"):
            if task.lease_token is None:
                continue
            outcome = transitions.take_back(task.pk, task.lease_token)
            if outcome is None:
                continue
            taken += 1
            logger.warning(
                "Task %s: lease of %s expired, %s",
                task.public_id,
                task.lease_owner,
                outcome.value,
            )
            if outcome is not transitions.Outcome.RETRIED:
                retention.conclude(task, outcome)
        return taken

    def send_held_back(self) -> int:
        """Send hints for waiting tasks that have none on the way; returns how many."""
        waiting = TranscriptionTask.objects.filter(
            turns.MAY_START,
            status__in=[Status.PREPARING, Status.QUEUED],
            dispatched_at=None,
            lease_token=None,
        )
        kinds = list(
            waiting.order_by(PRIORITY_RANK)
            .values("status", "model", "effective_priority")
            .distinct()
        )
        sent, left = 0, BATCH
        for position, kind in enumerate(kinds):
            # Turns of different lanes do not compare: each has its share of a batch.
            share = -(-left // (len(kinds) - position))
            # Who is next comes first: without a hint nobody is served.
            task_ids = waiting.filter(**kind).order_by("turn", "id")[:share]
            for task_id in task_ids.values_list("pk", flat=True):
                if publishing.breaker.is_open():
                    return sent
                sent += hints.send_hint(task_id)
                left -= 1
        return sent
