"""Every change of a callback's state: one conditional UPDATE each, as for tasks.

The row is made in the transaction that ends its task, so that there is one exactly when
the task has ended. The arrows are drawn in docs/architecture.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from accounts.models import User
from transcription.database import after_now, despite_conflicts, despite_outages
from transcription.errors import DeliveryUnderWayError, TooManyTestsError
from transcription.models import Callback, CallbackAttempt, TranscriptionTask
from transcription.services.retry_schedule import delay_after
from transcription.work.kinds import NO_LEASE, Lease, WorkKind
from transcription.work.publishing import Hint
from whisperhub import queues
from whisperhub.sentences import Sentence
from whisperhub.web.request_id import current_request_id, named_by_request

logger = logging.getLogger(__name__)

State = Callback.State

Event = Callback.Event

# No other attempt is made: the operator's rules, not the receiver, stand against it.
FINAL_CODES: Final = frozenset({"blocked_address"})
DELIVERY_TASK: Final = "transcription.tasks.deliver_callback"
WORKER_LOST: Final = "worker_lost"
# How many test events of one owner may be on their way; each may take the whole time
# that a receiver has.
MOST_TESTS_WAITING: Final = 10
TESTS_KEPT: Final = timedelta(days=7)
# Rows handled by one step of the dispatcher.
BATCH: Final = 500


@dataclass(frozen=True)
class Claim:
    """The right to send one callback once; made by `claim`, ended by `settle`.

    Attributes:
        lease: of the row; the heartbeat renews it.
        number: which attempt this is, from 1.
        failures: how many before it failed since the callback last began.
        is_test: somebody waits for what comes of it: it is not tried again.
    """

    lease: Lease
    number: int
    failures: int
    is_test: bool = False


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

    @property
    def is_final(self) -> bool:
        """Whether the event must not be sent again.

        Standard Webhooks: a receiver that is gone wants no more.
        """
        return self.http_status == HTTPStatus.GONE or self.error_code in FINAL_CODES


class CallbackWork(WorkKind[Callback]):
    """Callbacks as held work: deliverers hold them. A hint names its row."""

    name = "callback"
    model = Callback
    queue_name = queues.CALLBACKS
    hint_columns = ("public_id", "attempts")
    order = ("next_attempt_at",)

    def may_start(self) -> Q:
        """A condition: it waits, and its next attempt has come."""
        return Q(state=State.PENDING, next_attempt_at__lte=Now())

    def hint(self, row: Callback) -> Hint:
        """The message that wakes a deliverer for a callback."""
        return Hint(
            task=DELIVERY_TASK,
            args=[row.pk],
            message_id=f"{row.public_id}-c{row.attempts + 1}",
            queue_name=self.queue_name,
        )

    def take_back(self, row: Callback) -> str | None:
        """Take a callback, as it was read, from a deliverer that was silent."""
        return take_back(row)

    def lease_length(self) -> timedelta:
        """How long a claim or a renewal holds: longer than an attempt may take.

        So a deliverer whose heartbeat comes late sends nothing twice. The renewals are
        for what the deadline of an attempt does not cut: the look-up of a name, and a
        database that is away.
        """
        return timedelta(seconds=settings.CALLBACK_SECONDS + settings.LEASE_SECONDS)


CALLBACKS: Final = CallbackWork()
GIVEN_UP: Final[dict[str, Any]] = {"state": State.UNDELIVERABLE, "ended_at": Now()}


# --- Made with the end of its task ---------------------------------------------------


def record(task_id: int, status: str) -> None:
    """Note that a task's callback is due, if its client gave an address.

    Only `transitions` calls this, inside the transaction that moves the task to this
    final state. The hint leaves after the commit.
    """
    wanted = (
        TranscriptionTask.objects.filter(pk=task_id)
        .exclude(callback_url="")
        .only("owner_id", "callback_url", "callback_headers", "request_id")
        .first()
    )
    if wanted is None:
        return
    callback = Callback.objects.create(
        task_id=task_id,
        owner_id=wanted.owner_id,
        url=wanted.callback_url,
        headers=wanted.callback_headers,
        event=Event(f"task.{status}"),
        request_id=wanted.request_id,
        next_attempt_at=Now(),
    )
    transaction.on_commit(lambda: CALLBACKS.send_hint(callback.pk), robust=True)


@despite_conflicts
def send_test(owner: User, url: str, headers: Mapping[str, str]) -> Callback:
    """Have a test event sent to an address, once.

    Raises:
        TooManyTestsError: others of this owner are still on their way.
    """
    tests = Callback.objects.filter(owner=owner, event=Event.TEST)
    waiting = tests.filter(state__in=[State.PENDING, State.DELIVERING])
    with transaction.atomic():
        # Locked, so that of several requests at once no more pass than there is room.
        User.objects.select_for_update().filter(pk=owner.pk).first()
        if waiting.count() >= MOST_TESTS_WAITING:
            raise TooManyTestsError(
                Sentence("Wait until your other test events have ended.")
            )
        test = Callback.objects.create(
            owner=owner,
            url=url,
            headers=dict(headers),
            event=Event.TEST,
            request_id=current_request_id.get(),
            next_attempt_at=Now(),
        )
        transaction.on_commit(lambda: CALLBACKS.send_hint(test.pk), robust=True)
    test.refresh_from_db()
    return test


def delete_old_tests() -> int:
    """Forget test events after a while: no task takes them along; returns how many."""
    old = Callback.objects.filter(
        task=None, lease_token=None, created_at__lt=Now() - TESTS_KEPT
    )
    deleted = 0
    while count := _delete_first(old):
        deleted += count
    return deleted


@despite_conflicts
def _delete_first(old: QuerySet[Callback]) -> int:
    with transaction.atomic():
        # Locked, so that nobody claims one and inserts an attempt meanwhile.
        ids = list(old.select_for_update().values_list("pk", flat=True)[:BATCH])
        Callback.objects.filter(pk__in=ids).delete()
    return len(ids)


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


@despite_outages
@despite_conflicts
def claim(callback_id: int, *, owner: str) -> Claim | None:
    """Take a callback that is due, for one attempt. None: another was first."""
    with transaction.atomic():
        lease = CALLBACKS.claim(
            callback_id,
            CALLBACKS.may_start(),
            owner=owner,
            state=State.DELIVERING,
            attempts=F("attempts") + 1,
        )
        if lease is None:
            return None
        number, failures, event = lease.rows.values_list(
            "attempts", "failures", "event"
        ).get()
        CallbackAttempt.objects.create(
            callback_id=callback_id, number=number, started_at=Now()
        )
    return Claim(lease, number, failures, is_test=event == Event.TEST)


@despite_outages
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
    else:
        failures = claim.failures + 1
        changes = {
            "failures": failures,
            **(
                GIVEN_UP
                if reply.is_final or claim.is_test
                else _next_attempt(failures, at_least_seconds=reply.retry_after_seconds)
            ),
        }
    answer = {"http_status": reply.http_status, "error_code": reply.error_code}
    with transaction.atomic():
        if not claim.lease.rows.update(**changes, **answer, **NO_LEASE):
            return None
        CallbackAttempt.objects.filter(
            callback_id=claim.lease.row_id, number=claim.number
        ).update(duration_seconds=reply.duration_seconds, **answer)
    return State(changes["state"])


def _next_attempt(count: int, *, at_least_seconds: float = 0.0) -> dict[str, Any]:
    """The changes after an attempt that came to nothing for the `count`th time."""
    delay = delay_after(count, at_least_seconds=at_least_seconds)
    if delay is None:
        return GIVEN_UP
    return {
        "state": State.PENDING,
        "next_attempt_at": after_now(delay),
        "dispatched_at": None,
    }


# --- From outside --------------------------------------------------------------------


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
        if not CALLBACKS.expired(callback).update(**changes, **NO_LEASE):
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
        **_beginning()
    )
    if begun:
        CALLBACKS.send_hint(callback_id)
    return bool(begun)


def replay(callback: Callback) -> None:
    """Have a callback delivered once more, as its owner wants.

    Raises:
        DeliveryUnderWayError: an attempt is under way.
    """
    if not begin_again(callback.pk):
        raise DeliveryUnderWayError(
            Sentence("It is being sent now. Try again in a moment.")
        )


@despite_conflicts
def begin_undeliverable_again(
    owner: User, *, since: datetime, until: datetime | None = None
) -> int:
    """Have an owner's events delivered once more that were given up.

    The dispatcher sends their hints, so that a great many of them do not stand in the
    way of others.

    Args:
        owner: whose.
        since: the moment of the first event.
        until: the moment after the last one; None: now.

    Returns:
        How many there were. Test events are left out.
    """
    given_up = Callback.objects.filter(
        owner=owner,
        state=State.UNDELIVERABLE,
        task__isnull=False,
        created_at__gte=since,
    )
    if until is not None:
        given_up = given_up.filter(created_at__lt=until)
    return given_up.update(**_beginning())


def _beginning() -> dict[str, Any]:
    """The changes that put a callback at the start of its schedule."""
    return {
        **named_by_request(),
        "state": State.PENDING,
        "ended_at": None,
        "failures": 0,
        "losses": 0,
        "next_attempt_at": Now(),
        "dispatched_at": None,
    }
