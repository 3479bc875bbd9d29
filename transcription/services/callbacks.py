"""Every change of a callback's state: one conditional UPDATE each, as for tasks.

The row is made in the transaction that ends its task, so that there is one exactly when
the task has ended. The arrows are drawn in docs/architecture.md.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from transcription.models import Callback, CallbackAttempt, TranscriptionTask
from transcription.services.database import despite_conflicts
from transcription.services.lease_columns import NO_LEASE, after_now
from transcription.services.publishing import breaker, publish
from transcription.services.retry_schedule import delay_after
from whisperhub.queues import CALLBACKS

logger = logging.getLogger(__name__)

State = Callback.State

DELIVERY_TASK: Final = "transcription.tasks.deliver_callback"
WORKER_LOST: Final = "worker_lost"
# Rows handled by one step of the dispatcher.
BATCH: Final = 500


@dataclass(frozen=True)
class Claim:
    """The right to send one callback once; made by `claim`, ended by `settle`.

    Attributes:
        number: which attempt this is, from 1.
        failures: how many before it failed since the callback last began.
    """

    callback_id: int
    token: uuid.UUID
    number: int
    failures: int


@dataclass(frozen=True)
class Reply:
    """What came of one attempt: the receiver's status or, without one, our own code.

    Attributes:
        retry_after_seconds: how long the receiver wants to be left alone.
    """

    duration_seconds: float
    http_status: int | None = None
    error_code: str = ""
    retry_after_seconds: float = 0.0

    @property
    def is_success(self) -> bool:
        """Whether the receiver has taken the event."""
        return self.http_status is not None and 200 <= self.http_status < 300


# --- Made with the end of its task ---------------------------------------------------


def record(task_id: int, status: str) -> None:
    """Note that a task's callback is due, if its client gave an address.

    Only `transitions` calls this, inside the transaction that moves the task to this
    final state. The hint leaves after the commit.
    """
    wanted = TranscriptionTask.objects.filter(pk=task_id).exclude(callback_url="")
    if not wanted.exists():
        return
    callback = Callback.objects.create(
        task_id=task_id, event=Callback.Event(f"task.{status}"), next_attempt_at=Now()
    )
    transaction.on_commit(lambda: send_hint(callback.pk), robust=True)


def withdraw(task_id: int) -> None:
    """Take back the news of a task's end: it has begun anew.

    Only `transitions` calls this, inside the transaction that moves the task. Who is
    sending it just now finds its claim gone.
    """
    # Locked first: the attempt that is noted meanwhile would still point here.
    rows = Callback.objects.filter(task_id=task_id)
    list(rows.select_for_update())
    rows.delete()


# --- Attempts ------------------------------------------------------------------------


@despite_conflicts
def claim(callback_id: int, *, owner: str) -> Claim | None:
    """Take a callback that is due, for one attempt. None: another was first."""
    token = uuid.uuid4()
    with transaction.atomic():
        row = Callback.objects.filter(pk=callback_id)
        if not row.filter(state=State.PENDING, next_attempt_at__lte=Now()).update(
            state=State.DELIVERING,
            attempts=F("attempts") + 1,
            lease_token=token,
            lease_owner=owner,
            lease_expires_at=after_now(lease_length()),
        ):
            return None
        number, failures = row.values_list("attempts", "failures").get()
        CallbackAttempt.objects.create(
            callback_id=callback_id, number=number, started_at=Now()
        )
    return Claim(callback_id, token, number, failures)


def lease_length() -> timedelta:
    """How long a claim holds.

    Nobody renews it: an attempt ends by its own deadline, and this is the time for what
    comes before and after. One that takes longer all the same, in a look-up of a name,
    writes nothing, and the event goes out twice under the same id.
    """
    return timedelta(seconds=settings.CALLBACK_SECONDS + settings.LEASE_SECONDS)


@despite_conflicts
def settle(claim: Claim, reply: Reply) -> State | None:
    """Note what came of an attempt, and what is next.

    Returns:
        Where the callback stands now; None if the claim had run out, and nothing was
        written.
    """
    changes: dict[str, Any]
    if reply.is_success:
        changes = {"state": State.DELIVERED, "ended_at": Now()}
    elif reply.http_status == HTTPStatus.GONE:
        # Standard Webhooks: the receiver wants no more.
        changes = {"state": State.UNDELIVERABLE, "ended_at": Now()}
    else:
        failures = claim.failures + 1
        changes = {
            "failures": failures,
            **_next_attempt(failures, at_least_seconds=reply.retry_after_seconds),
        }
    answer = {"http_status": reply.http_status, "error_code": reply.error_code}
    with transaction.atomic():
        held = Callback.objects.filter(pk=claim.callback_id, lease_token=claim.token)
        if not held.update(**changes, **answer, **NO_LEASE):
            return None
        CallbackAttempt.objects.filter(
            callback_id=claim.callback_id, number=claim.number
        ).update(duration_seconds=reply.duration_seconds, **answer)
    return State(changes["state"])


def _next_attempt(count: int, *, at_least_seconds: float = 0.0) -> dict[str, Any]:
    """The changes after an attempt that came to nothing for the `count`th time."""
    delay = delay_after(count, at_least_seconds=at_least_seconds)
    if delay is None:
        return {"state": State.UNDELIVERABLE, "ended_at": Now()}
    return {
        "state": State.PENDING,
        "next_attempt_at": after_now(delay),
        "dispatched_at": None,
    }


# --- From outside --------------------------------------------------------------------


def take_back_expired() -> int:
    """Put the callbacks of silent deliverers back; returns how many."""
    expired = Callback.objects.filter(lease_expires_at__lt=Now()).order_by(
        "lease_expires_at"
    )[:BATCH]
    taken = 0
    for callback in expired:
        state = take_back(callback)
        if state is not None:
            taken += 1
            logger.warning(
                "Callback %s: lease of %s expired, %s",
                callback.public_id,
                callback.lease_owner,
                state.value,
            )
    return taken


@despite_conflicts
def take_back(callback: Callback) -> State | None:
    """Take a callback, as it was read, from a deliverer whose lease has run out.

    Losses are counted apart from failures: they are not the receiver's. They follow the
    same schedule, so that a callback whose delivery kills the process does so ever more
    rarely, and not for ever.

    Returns:
        Where it stands now; None if it is no longer under the lease that was read.
    """
    losses = callback.losses + 1
    answer = {"http_status": None, "error_code": WORKER_LOST}
    changes = {"losses": losses, **_next_attempt(losses), **answer}
    with transaction.atomic():
        if not Callback.objects.filter(
            pk=callback.pk,
            lease_token=callback.lease_token,
            lease_expires_at__lt=Now(),
        ).update(**changes, **NO_LEASE):
            return None
        CallbackAttempt.objects.filter(
            callback_id=callback.pk, number=callback.attempts
        ).update(**answer)
    return State(changes["state"])


@despite_conflicts
def begin_again(callback_id: int) -> bool:
    """Have a callback delivered once more, its schedule from the start.

    Returns:
        False if an attempt is under way.
    """
    begun = Callback.objects.filter(pk=callback_id, lease_token=None).update(
        state=State.PENDING,
        ended_at=None,
        failures=0,
        losses=0,
        next_attempt_at=Now(),
        dispatched_at=None,
    )
    if begun:
        send_hint(callback_id)
    return bool(begun)


# --- Hints ---------------------------------------------------------------------------


def send_due() -> int:
    """Send hints for callbacks that are due and have none on the way; returns how many.

    Those whose next attempt has come, and those whose hint was not sent.
    """
    due = (
        Callback.objects.filter(
            state=State.PENDING, next_attempt_at__lte=Now(), dispatched_at=None
        )
        .order_by("next_attempt_at")
        .values_list("pk", flat=True)[:BATCH]
    )
    sent = 0
    for callback_id in due:
        if breaker.is_open():
            break
        sent += send_hint(callback_id)
    return sent


def send_hint(callback_id: int) -> bool:
    """Tell a deliverer of a callback that is due; never raises for a broker away.

    Returns:
        Whether a message is on its way. If not, the dispatcher will try again.
    """
    if breaker.is_open() or not mark_dispatched(callback_id):
        return False
    callback = (
        Callback.objects.filter(pk=callback_id).only("public_id", "attempts").first()
    )
    if callback is None:
        return False  # Deleted with its task a moment ago.
    error = publish(
        DELIVERY_TASK,
        args=[callback_id],
        message_id=f"{callback.public_id}-c{callback.attempts + 1}",
        queue_name=CALLBACKS,
    )
    if error is not None:
        mark_undispatched(callback_id)
        logger.warning("Callback %s: hint not sent (%s)", callback.public_id, error)
        return False
    return True


@despite_conflicts
def mark_dispatched(callback_id: int) -> bool:
    """Note that a hint is about to be sent. False: not due, or sent already."""
    return bool(
        Callback.objects.filter(
            pk=callback_id,
            state=State.PENDING,
            next_attempt_at__lte=Now(),
            dispatched_at=None,
        ).update(dispatched_at=Now())
    )


@despite_conflicts
def mark_undispatched(callback_id: int) -> None:
    """Note that the hint was not sent after all, or is lost."""
    Callback.objects.filter(pk=callback_id, state=State.PENDING).update(
        dispatched_at=None
    )
