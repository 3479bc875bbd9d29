"""Another process writes between two statements of a change; no task is left over.

The step runs again and again, and each time the other write comes one statement later.
Inside a transaction the row is locked, so there it cannot come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.integration.steps import MEANINGLESS, STATES, STEPS, lease_of
from tests.support.engines import ScriptedEngine
from tests.support.factories import TaskFactory
from transcription.errors import LeaseLostError
from transcription.models import TranscriptionTask
from transcription.services import execution, preparation
from transcription.services.transitions import cancelling, claims, lost_workers
from transcription.services.transitions.changes import Outcome
from transcription.services.transitions.lost_workers import WORKER_LOST

pytestmark = pytest.mark.django_db

Status = TranscriptionTask.Status

STEPS_HERE = {
    **STEPS,
    "take_back if expired": lambda task: lost_workers.take_back(
        task.pk, lease_of(task).token
    ),
}


def expire(task: TranscriptionTask) -> None:
    """Have the lease run out at this moment."""
    TranscriptionTask.objects.filter(pk=task.pk, lease_expires_at__isnull=False).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )


INTRUDERS: dict[str, Callable[[TranscriptionTask], object]] = {
    "cancel": lambda task: cancelling.cancel(task.pk),
    "expire": expire,
    "take_back": STEPS["take_back"],
    "claim": lambda task: (
        STEPS["claim_preparation"](task) or STEPS["claim_inference"](task)
    ),
}
LEASED = ["preparing, leased", "processing"]
TASK_UPDATE = f"UPDATE {connection.ops.quote_name(TranscriptionTask._meta.db_table)}"


def is_unlocked(sql: str) -> bool:
    """Whether the statement is outside of a transaction of the step, or begins one.

    The test's own transaction does not count. One without a savepoint is that of
    `_end`, which begins with an UPDATE of the task.
    """
    blocks = connection.savepoint_ids
    return not blocks or (not any(blocks) and TASK_UPDATE in sql)


@contextmanager
def interrupted(before: int, by: Callable[[], object]) -> Iterator[list[int]]:
    """Run something before a statement of the block, if it may come there.

    Gives a list that is empty if there was no such statement.
    """
    seen = count()
    happened: list[int] = []

    def execute(
        run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if not happened and is_unlocked(sql) and next(seen) == before:
            happened.append(before)
            try:
                by()
            except LeaseLostError:
                pass
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield happened


def check_sound(task: TranscriptionTask) -> None:
    """The row is ended, or a worker may claim it, or a lease holds it."""
    row = TranscriptionTask.objects.get(pk=task.pk)
    leased = row.lease_token is not None
    assert leased == bool(row.lease_owner) == (row.lease_expires_at is not None)
    if row.status in TranscriptionTask.FINAL:
        assert not leased
        assert row.finished_at is not None
    elif not leased:
        assert row.status in (Status.PREPARING, Status.QUEUED)
        assert row.cancel_requested_at is None
    assert row.error_code != WORKER_LOST or row.losses > lost_workers.LOSSES_FORGIVEN


@pytest.mark.parametrize("intruder", INTRUDERS)
@pytest.mark.parametrize("state", [*LEASED, "preparing", "queued"])
def test_what_comes_between_leaves_no_task_that_nobody_can_claim(state, intruder):
    for step in STEPS_HERE:
        if (state, step) in MEANINGLESS:
            continue
        for moment in count():
            task = TaskFactory(**STATES[state])

            with interrupted(moment, partial(INTRUDERS[intruder], task)) as happened:
                try:
                    STEPS_HERE[step](task)
                except LeaseLostError:
                    pass

            if not happened:
                break
            check_sound(task)
        assert moment > 0, step


@pytest.mark.parametrize("losses", [0, 2])
@pytest.mark.parametrize("state", LEASED)
def test_a_cancellation_while_a_lost_task_is_taken_back_ends_it(state, losses):
    for moment in count():
        task = TaskFactory(**STATES[state], losses=losses)
        with interrupted(moment, partial(cancelling.cancel, task.pk)) as happened:
            outcome = STEPS["take_back"](task)

        if not happened:
            break
        check_sound(task)
        row = TranscriptionTask.objects.get(pk=task.pk)
        assert row.status == Status.CANCELLED
        assert outcome in (Outcome.CANCELLED, None)
    assert moment > 0


@pytest.mark.parametrize("state", LEASED)
def test_a_lease_that_runs_out_during_the_look_fails_no_task(state):
    """It is taken back with the next look, as a first loss."""
    for moment in count():
        task = TaskFactory(**STATES[state])

        with interrupted(moment, partial(expire, task)) as happened:
            outcome = lost_workers.take_back(task.pk, lease_of(task).token)

        if not happened:
            break
        assert outcome in (Outcome.RETRIED, None)
        assert TranscriptionTask.objects.get(pk=task.pk).status != Status.FAILED
    assert moment > 1


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("state", LEASED)
def test_a_cancellation_while_a_failure_is_noted_is_no_failure_or_a_whole_one(
    state, attempts, settings
):
    settings.MAX_ATTEMPTS = 3
    for moment in count():
        task = TaskFactory(**{**STATES[state], "attempts": attempts})

        with interrupted(moment, partial(cancelling.cancel, task.pk)) as happened:
            outcome = STEPS["retry_or_fail"](task)

        if not happened:
            break
        row = TranscriptionTask.objects.get(pk=task.pk)
        check_sound(task)
        assert (outcome, row.status) == (Outcome.CANCELLED, Status.CANCELLED)
        assert row.error_code == ""
    assert moment > 0


# --- Rows that go after a claim ------------------------------------------------------


def deleting_after(claim: Any) -> Any:
    """A claim whose task is deleted a moment later."""

    def claim_and_delete(task_id: int, **named: Any) -> Any:
        lease = claim(task_id, **named)
        TranscriptionTask.objects.filter(pk=task_id).delete()
        return lease

    return claim_and_delete


def test_a_task_that_is_deleted_after_its_claim_is_no_error(monkeypatch, quiet_heart):
    for name in ("claim_preparation", "claim_inference"):
        claim = getattr(claims, name)
        monkeypatch.setattr(claims, name, deleting_after(claim))
    TaskFactory(dispatched=True)
    TaskFactory(dispatched=True, queued=True)

    assert preparation.prepare("prepare.normal", owner="w") is None
    served = execution.execute("demo.normal", engine=ScriptedEngine(), owner="w")

    assert served is None
    assert not TranscriptionTask.objects.exists()
