"""Every condition of every conditional UPDATE decides: without it the row would change.

Some of these rows cannot come about as long as all other conditions hold. They are what
each condition is there for.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Q
from django.utils import timezone

from tests.integration.steps import STEPS, lease_of
from tests.support.factories import TaskFactory
from transcription.models import TranscriptionTask
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import cancelling, claims, completion, restart

pytestmark = pytest.mark.django_db

NEVER = Q(pk__in=[])
SOON = timezone.now() + timedelta(hours=1)
BEFORE = timezone.now() - timedelta(hours=1)
LEASED = {"lease_token": uuid.UUID(int=1)}
TO_BE_CANCELLED = {"cancel_requested_at": BEFORE}
ENDED = {"status": "completed"}

CHANGES: dict[str, Callable[[TranscriptionTask], Any]] = {
    **STEPS,
    "set_aside": lambda task: claims.set_aside(task.pk, only_if=Q()),
    "let_media_go": lambda task: restart.let_media_go(task.pk),
    "mark_undispatched": lambda task: TASKS.mark_undispatched(task.pk),
}
# What the change works on, and for each of its conditions a row that breaks only that.
CONDITIONS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "claim_preparation": (
        {},
        [{"status": "queued"}, ENDED, LEASED, TO_BE_CANCELLED, {"not_before": SOON}],
    ),
    "claim_inference": (
        {"queued": True},
        [{"status": "preparing"}, ENDED, LEASED, TO_BE_CANCELLED, {"not_before": SOON}],
    ),
    "set_aside": (
        {"queued": True},
        [{"status": "preparing"}, ENDED, LEASED, TO_BE_CANCELLED],
    ),
    "raise_priority": (
        {"queued": True},
        [ENDED, LEASED, {"effective_priority": "low"}],
    ),
    "change_priority": ({"queued": True}, [ENDED, TO_BE_CANCELLED]),
    "start_again": (
        {"failed": True},
        [ENDED, {"status": "queued"}, {"media_expires_at": None}],
    ),
    "let_media_go": (
        {"failed": True},
        [ENDED, {"status": "preparing"}, {"media_expires_at": None}],
    ),
    "mark_dispatched": (
        {"queued": True},
        [ENDED, LEASED, {"dispatched_at": BEFORE}, {"not_before": SOON}],
    ),
    "mark_undispatched": (
        {"queued": True, "dispatched": True},
        [ENDED, LEASED, {"dispatched_at": None}],
    ),
}


def told(other: dict[str, Any]) -> str:
    """What breaks a condition, in the name of a test: the same in every process."""
    ((column, value),) = other.items()
    return f"{column} {value}" if isinstance(value, str) else column


BROKEN = [
    pytest.param(name, base, other, id=f"{name}, {told(other)}")
    for name, (base, others) in CONDITIONS.items()
    for other in others
]


def columns(task: TranscriptionTask) -> dict[str, Any]:
    return dict(TranscriptionTask.objects.filter(pk=task.pk).values().get())


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_row_that_meets_all_conditions_changes(name):
    task = TaskFactory(**CONDITIONS[name][0])
    before = columns(task)

    assert CHANGES[name](task)

    assert columns(task) != before


@pytest.mark.parametrize(("name", "base", "other"), BROKEN)
def test_a_row_that_breaks_one_condition_does_not_change(name, base, other):
    task = TaskFactory(**base)
    TranscriptionTask.objects.filter(pk=task.pk).update(**other)
    before = columns(task)

    assert not CHANGES[name](task)

    assert columns(task) == before


@pytest.mark.parametrize(
    "claim",
    [
        claims.claim_inference,
        lambda pk, *, owner, only_if: claims.set_aside(pk, only_if=only_if),
    ],
)
def test_what_a_caller_wants_of_a_task_decides_too(claim):
    task = TaskFactory(queued=True)

    assert not claim(task.pk, owner="w", only_if=NEVER)


@pytest.mark.parametrize("trait", ["queued", "processing", "failed", "cancelled"])
def test_only_a_completed_task_gives_its_result_to_another(trait):
    task = TaskFactory(leased=True)
    other = TaskFactory(**{trait: True}, owner=task.owner)
    before = columns(task)

    assert completion.complete_from(lease_of(task), other.pk) is None

    assert columns(task) == before


def test_a_task_that_is_to_be_cancelled_takes_no_result_of_another():
    task = TaskFactory(leased=True)
    other = TaskFactory(completed=True, owner=task.owner)
    assert cancelling.cancel(task.pk)

    assert completion.complete_from(lease_of(task), other.pk) == "cancelled"


def test_a_beat_renews_the_leases_of_its_process_only():
    mine, other = TaskFactory(processing=True), TaskFactory(processing=True)
    before = columns(other)

    TASKS.renew([lease_of(mine)])

    assert columns(other) == before


@pytest.mark.parametrize("step", ["take_back", "hand_back", "complete", "cancel"])
def test_a_change_touches_no_other_task(step):
    other = TaskFactory(processing=True)
    # The lease of another row, as after a copy of it.
    task = TaskFactory(processing=True, lease_token=other.lease_token)
    before = columns(other)

    STEPS[step](task)

    assert columns(other) == before


def test_a_second_wish_to_cancel_leaves_the_moment_of_the_first():
    task = TaskFactory(processing=True, **TO_BE_CANCELLED)
    before = columns(task)

    assert cancelling.cancel(task.pk)

    assert columns(task) == before


def test_an_ended_task_gets_no_wish_to_cancel_though_a_lease_is_left_in_it():
    task = TaskFactory(completed=True, **LEASED)
    before = columns(task)

    assert not cancelling.cancel(task.pk)

    assert columns(task) == before
