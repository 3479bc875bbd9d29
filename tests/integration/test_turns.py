"""Between the owners of one lane, tasks start in turn; see services/turns.py."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from django.db.models.functions import Now

from accounts.models import User
from tests.integration.steps import finish_preparation, retry
from tests.support.factories import UserFactory
from transcription.models import TranscriptionTask
from transcription.services import submission, turns
from transcription.services.held_tasks import TASKS
from transcription.services.submission import Link, TaskRequest
from transcription.services.transitions import (
    cancelling,
    claims,
    lost_workers,
    priorities,
    restart,
)

pytestmark = pytest.mark.django_db

LANE = "prepare.normal"
LINK = Link("http://127.0.0.1:9/speech.wav")


@pytest.fixture(autouse=True)
def nobody_listens(no_hints: list[int]) -> None:
    """Hints go nowhere."""


@pytest.fixture
def owners() -> list[User]:
    return [UserFactory(username=name) for name in "abc"]


def submit(owner: User, count: int = 1, priority: str = "normal") -> list[int]:
    """Submit tasks, whose hints are noted as sent."""
    request = TaskRequest(priority=priority)
    return [submission.submit_link(owner, LINK, request).pk for _ in range(count)]


def start(lane: str = LANE) -> int | None:
    """Claim the task whose turn it is."""
    chosen = turns.first_in(lane)
    if chosen is None:
        return None
    lease = claims.claim_preparation(
        chosen.task_id, owner="media", only_if=chosen.still_first
    )
    assert lease is not None
    return chosen.task_id


def start_all(count: int = 1000, lane: str = LANE) -> str:
    """Claim one after the other; whose they were, a letter each."""
    started: list[int] = []
    while len(started) < count and (task_id := start(lane)):
        started.append(task_id)
    return names_of(started)


def names_of(ids: Iterable[int]) -> str:
    names = dict(
        TranscriptionTask.objects.filter(pk__in=ids).values_list(
            "pk", "owner__username"
        )
    )
    return "".join(names[task_id] for task_id in ids)


# --- The order -----------------------------------------------------------------------


def test_one_owner_alone_is_served_in_the_order_of_arrival(owners):
    ids = submit(owners[0], 6)

    assert [start() for _ in range(7)] == [*ids, None]


def test_owners_start_in_turn_however_many_tasks_they_have(owners):
    a, b, c = owners
    submit(a, 8)
    submit(b, 2)
    submit(c, 3)

    assert start_all() == "abcabcacaaaaa"


def test_who_comes_later_is_among_the_next(owners):
    a, b, _ = owners
    submit(a, 20)
    assert start_all(5) == "aaaaa"

    submit(b, 3)

    assert start_all(8) == "bababaaa"


def test_who_was_away_is_not_owed_anything(owners):
    a, b, _ = owners
    submit(b)
    submit(a, 20)
    assert start_all(15) == "baaaaaaaaaaaaaa"

    submit(b, 10)

    assert start_all(8) == "babababa"


def test_an_owner_is_not_punished_for_what_ran_while_nobody_else_waited(owners):
    a, b, _ = owners
    submit(a, 30)
    start_all()

    submit(b, 10)
    submit(a, 3)

    assert start_all(6) == "bbabab"


def test_those_who_send_one_at_a_time_do_not_keep_others_waiting(owners):
    a, b, c = owners
    submit(a, 30)
    start_all(5)
    submit(b)
    submit(c)

    started = ""
    for _ in range(12):
        started += start_all(1)
        # Whoever was served comes back at once.
        if started[-1] in "bc":
            submit(b if started[-1] == "b" else c)

    assert started == "bca" * 4


def test_each_lane_has_turns_of_its_own(owners):
    a, b, _ = owners
    submit(a, 20)
    start_all()

    submit(a, 2, "high")
    submit(b, 2, "high")

    assert start_all(lane="prepare.high") == "abab"
    assert start_all() == ""


def test_prepared_tasks_are_in_the_order_of_their_preparation(owners):
    a, b, _ = owners
    submit(a, 3)
    submit(b, 1)
    assert start_all() == "abaa"
    first, second, third, of_b = TranscriptionTask.objects.order_by("pk")
    for task in (third, second, first, of_b):
        finish_preparation(task)
        TASKS.mark_dispatched(task.pk)

    lane = TranscriptionTask.objects.filter(lane=f"{first.model}.normal")

    assert list(lane.order_by("turn", "id")) == [third, of_b, second, first]


# --- What waits for something --------------------------------------------------------


def test_a_task_without_a_hint_of_its_own_takes_none(owners):
    a, b, _ = owners
    (first,) = submit(a)
    submit(b)
    TASKS.mark_undispatched(first)

    assert start_all() == "b"


def test_a_pause_after_a_failure_holds_nobody_up_and_costs_no_turn(owners):
    a, b, _ = owners
    first, *_ = submit(a, 4)
    submit(b, 4)
    assert start() == first
    retry(TranscriptionTask.objects.get(pk=first))

    assert start_all(3) == "bab"
    TranscriptionTask.objects.filter(pk=first).update(not_before=Now())
    TASKS.mark_dispatched(first)

    assert start() == first
    assert start_all() == "abab"


def test_a_task_that_comes_back_does_not_turn_the_clock_back(owners):
    a, b, _ = owners
    first, *_ = submit(a, 20)
    start_all(10)
    token = TranscriptionTask.objects.get(pk=first).lease_token
    assert token is not None
    lost_workers.take_back(first, token, only_expired=False)
    TASKS.mark_dispatched(first)

    submit(b, 5)

    assert start() == first
    assert start_all(6) == "bababa"


def test_a_task_that_starts_again_goes_to_the_end_of_its_owners(owners):
    first, *others = submit(owners[0], 3)
    cancelling.cancel(first)
    restart.start_again(first)
    TASKS.mark_dispatched(first)

    assert [start() for _ in range(3)] == [*others, first]


# --- Other lanes ---------------------------------------------------------------------


def test_another_priority_is_another_place(owners):
    a, b, _ = owners
    low, *_ = submit(a, 2, "low")
    submit(a, 3)
    submit(b, 3)
    priorities.change_priority(low, "normal")
    TASKS.mark_dispatched(low)

    assert start_all(6) == "ababab"
    assert start() == low


def test_a_task_that_left_its_lane_meanwhile_is_not_taken_from_there(owners):
    (task_id,) = submit(owners[0])
    chosen = turns.first_in(LANE)
    assert chosen is not None
    priorities.change_priority(task_id, "high")
    TASKS.mark_dispatched(task_id)

    lease = claims.claim_preparation(task_id, owner="media", only_if=chosen.still_first)

    assert lease is None
    assert start("prepare.high") == task_id


def test_the_same_priority_is_the_same_place(owners):
    ids = submit(owners[0], 3)

    priorities.change_priority(ids[0], "normal")
    TASKS.mark_dispatched(ids[0])

    assert [start() for _ in range(3)] == ids


def test_a_task_that_rises_takes_its_turn(owners):
    a, b, _ = owners
    submit(a, 5, "normal")
    (low,) = submit(b, 1, "low")
    priorities.raise_priority(low, former="low", higher="normal")
    TASKS.mark_dispatched(low)

    assert start_all() == "abaaaa"


# --- Gaps ----------------------------------------------------------------------------


def test_who_gave_turns_away_moves_up(owners):
    a, b, _ = owners
    ids = submit(a, 10)
    submit(b, 10)
    for task_id in ids[:8]:
        cancelling.cancel(task_id)

    assert turns.close_gaps() == 1
    assert turns.close_gaps() == 0
    assert start_all(6) == "ababbb"


def test_turns_without_a_gap_stay(owners):
    a, b, _ = owners
    submit(a, 5)
    start_all(3)
    submit(b, 3)
    before = list(TranscriptionTask.objects.values_list("pk", "turn"))

    assert turns.close_gaps() == 0
    assert list(TranscriptionTask.objects.values_list("pk", "turn")) == before


def test_who_is_alone_has_no_need_to_move_up(owners):
    ids = submit(owners[0], 5)
    cancelling.cancel(ids[0])

    assert turns.close_gaps() == 0


def test_a_long_line_moves_up_in_parts(owners, monkeypatch):
    monkeypatch.setattr(turns, "GAP_BATCH", 2)
    a, b, _ = owners
    ids = submit(a, 10)
    submit(b, 10)
    for task_id in ids[:6]:
        cancelling.cancel(task_id)

    turns.close_gaps()

    assert start_all(4) == "abab"
    turns.close_gaps()
    assert start_all(4) == "abab"
    assert not TranscriptionTask.objects.filter(owner=a, lane=LANE).exists()
