"""Every change of a callback's state: one conditional UPDATE each, as for tasks.

The row is made in the transaction that ends its task, so that there is one exactly when
the task has ended. The arrows are drawn in docs/architecture.md.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts.models import User
from transcription.database import by_itself, despite_conflicts
from transcription.errors import DeliveryUnderWayError, TooManyTestsError
from transcription.models import Callback, CallbackAttempt, TranscriptionTask
from transcription.services.lease_columns import NO_LEASE, after_now
from transcription.services.publishing import breaker, publish
from transcription.services.retry_schedule import delay_after
from whisperhub.queues import CALLBACKS
from whisperhub.request_id import current_request_id, named_by_request
from whisperhub.sentences import Sentence

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
        number: which attempt this is, from 1.
        failures: how many before it failed since the callback last began.
        is_test: somebody waits for what comes of it: it is not tried again.
    """

    callback_id: int
    token: uuid.UUID
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
    transaction.on_commit(lambda: send_hint(callback.pk), robust=True)


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
        transaction.on_commit(lambda: send_hint(test.pk), robust=True)
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
        number, failures, event = row.values_list("attempts", "failures", "event").get()
        CallbackAttempt.objects.create(
            callback_id=callback_id, number=number, started_at=Now()
        )
    return Claim(callback_id, token, number, failures, is_test=event == Event.TEST)


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
        return GIVEN_UP
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
        with by_itself("taking callbacks back", callback.public_id):
            state = take_back(callback)
            if state is None:
                continue
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
        **_beginning()
    )
    if begun:
        send_hint(callback_id)
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
        with by_itself("sending hints of callbacks", callback_id):
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
