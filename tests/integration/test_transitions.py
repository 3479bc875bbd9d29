"""Every arrow between the states of a task, and that there are no others."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import override

from tests.integration.steps import (
    CASES,
    DECODED,
    HEARD,
    MODEL,
    STATES,
    STEPS,
    complete,
    fail,
    finish_preparation,
    lease_of,
    retry,
)
from tests.support.factories import TaskFactory
from tests.support.waiting import patient
from transcription.errors import LeaseLostError
from transcription.models import Transcript, TranscriptionTask
from transcription.notices import Notice, NoticeCode
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import (
    cancelling,
    claims,
    completion,
    failure,
    lost_workers,
    recording,
    restart,
)
from transcription.services.transitions.changes import Outcome
from transcription.work.kinds import NO_LEASE
from whisperhub.sentences import Sentence

pytestmark = pytest.mark.django_db

Status = TranscriptionTask.Status

MISSING = Notice(
    NoticeCode.AUDIO_MISSING, Sentence("{seconds} s are missing.", seconds=2.5)
)
SHORT = Notice(NoticeCode.MODEL, Sentence("The file is empty."))

# From, by, to. What is not here changes nothing.
ARROWS = {
    ("preparing", "claim_preparation"): "preparing, leased",
    ("preparing", "cancel"): "cancelled",
    ("preparing", "mark_dispatched"): "preparing",
    ("preparing", "raise_priority"): "preparing",
    ("preparing", "change_priority"): "preparing",
    ("preparing, leased", "change_priority"): "preparing, leased",
    ("queued", "change_priority"): "queued",
    ("failed", "start_again"): "preparing",
    ("cancelled", "start_again"): "preparing",
    ("preparing, leased", "finish_preparation"): "queued",
    ("preparing, leased", "complete_from"): "completed",
    ("preparing, leased", "fail"): "failed",
    ("preparing, leased", "retry_or_fail"): "preparing",
    ("preparing, leased", "finish_cancelled"): "cancelled",
    ("preparing, leased", "hand_back"): "preparing",
    ("preparing, leased", "postpone"): "preparing",
    ("preparing, leased", "record_progress"): "preparing, leased",
    ("preparing, leased", "cancel"): "preparing, leased",
    ("preparing, leased", "take_back"): "preparing",
    ("queued", "claim_inference"): "processing",
    ("queued", "cancel"): "cancelled",
    ("queued", "mark_dispatched"): "queued",
    ("queued", "raise_priority"): "queued",
    ("processing", "complete"): "completed",
    ("processing", "fail"): "failed",
    ("processing", "retry_or_fail"): "queued",
    ("processing", "finish_cancelled"): "cancelled",
    ("processing", "hand_back"): "queued",
    ("processing", "postpone"): "queued",
    ("processing", "record_progress"): "processing",
    ("processing", "cancel"): "processing",
    ("processing", "take_back"): "queued",
}


def columns(task: TranscriptionTask) -> dict[str, Any]:
    return dict(TranscriptionTask.objects.filter(pk=task.pk).values().get())


def reload(task: TranscriptionTask) -> Any:
    return TranscriptionTask.objects.get(pk=task.pk)


@pytest.mark.parametrize(("state", "step"), CASES)
def test_only_drawn_arrows_happen(state, step):
    task = TaskFactory(**STATES[state])
    before = columns(task)

    try:
        answer = STEPS[step](task)
    except LeaseLostError:
        answer = None

    after = columns(task)
    if (state, step) in ARROWS:
        status, _, leased = ARROWS[state, step].partition(", ")
        is_leased = bool(leased) or status == "processing"
        assert after != before
        assert after["status"] == status
        assert (after["lease_token"] is not None) == is_leased
        assert (after["lease_expires_at"] is not None) == is_leased
        assert bool(after["lease_owner"]) == is_leased
        assert (after["finished_at"] is not None) == (status in TranscriptionTask.FINAL)
    else:
        assert not answer
        assert after == before
        has_transcript = Transcript.objects.filter(task=task).exists()
        assert has_transcript == (state == "completed")


@pytest.mark.parametrize(
    "write", [finish_preparation, complete, fail, retry, STEPS["record_progress"]]
)
@pytest.mark.parametrize("state", ["preparing, leased", "processing"])
def test_a_worker_that_lost_its_lease_writes_nothing(state, write):
    task = TaskFactory(**STATES[state])
    mine = reload(task)
    TranscriptionTask.objects.filter(pk=task.pk).update(lease_token=uuid.uuid4())
    before = columns(task)

    with pytest.raises(LeaseLostError):
        write(mine)

    assert columns(task) == before
    assert not Transcript.objects.exists()


def test_a_claim_starts_a_lease_and_counts_an_attempt():
    task = TaskFactory(queued=True)

    lease = claims.claim_inference(task.pk, owner="cpu-0@here/1")

    row = reload(task)
    assert lease == TASKS.lease(task.pk, row.lease_token)
    assert (row.status, row.lease_owner) == (Status.PROCESSING, "cpu-0@here/1")
    assert row.attempts == 1
    assert row.started_at is not None
    left = row.lease_expires_at - timezone.now()
    assert timedelta(seconds=1) < left <= timedelta(seconds=3.5)


@pytest.mark.parametrize(
    ("trait", "claim"),
    [
        ("prepared", claims.claim_preparation),
        ("queued", claims.claim_inference),
    ],
)
def test_second_claim_of_a_task_loses(trait, claim):
    task = TaskFactory(**{trait: True})

    first = claim(task.pk, owner="first")
    second = claim(task.pk, owner="second")

    assert first is not None
    assert second is None
    assert reload(task).lease_owner == "first"


@pytest.mark.django_db(transaction=True)
def test_racing_workers_get_each_task_exactly_once():
    tasks = TaskFactory.create_batch(10, queued=True)
    workers = 4
    start = threading.Barrier(workers)
    won: list[tuple[int, str]] = []

    def work(name: str) -> None:
        try:
            start.wait(timeout=patient(20))
            won.extend(
                (task.pk, name)
                for task in tasks
                if claims.claim_inference(task.pk, owner=name)
            )
        finally:
            connection.close()

    threads = [
        threading.Thread(target=work, args=[f"worker-{number}"])
        for number in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=patient(60))

    assert sorted(pk for pk, _ in won) == sorted(task.pk for task in tasks)
    rows = TranscriptionTask.objects.values_list("pk", "lease_owner", "attempts")
    assert sorted(rows) == sorted((pk, name, 1) for pk, name in won)


@pytest.mark.parametrize(
    ("trait", "claim"),
    [
        ("prepared", claims.claim_preparation),
        ("queued", claims.claim_inference),
    ],
)
def test_a_task_is_not_claimed_before_its_time(trait, claim):
    moment = timezone.now() + timedelta(hours=1)
    task = TaskFactory(**{trait: True}, not_before=moment)

    assert claim(task.pk, owner="w") is None
    assert not TASKS.mark_dispatched(task.pk)

    TranscriptionTask.objects.update(not_before=Now() - timedelta(seconds=1))
    assert TASKS.mark_dispatched(task.pk)
    assert claim(task.pk, owner="w") is not None


def test_a_prepared_task_knows_its_media_and_starts_counting_anew():
    task = TaskFactory(leased=True, dispatched=True, attempts=2, losses=1)

    finish_preparation(task)

    row = reload(task)
    assert row.media_format == "matroska,webm"
    assert (row.audio_codec, row.sample_rate, row.channels) == ("opus", 48_000, 2)
    assert row.has_video is True
    assert row.media_duration_seconds == 4.0
    assert (row.attempts, row.losses) == (0, 0)
    assert row.dispatched_at is None
    assert row.queued_at is not None


def test_the_transcript_is_written_with_the_move_to_completed():
    task = TaskFactory(processing=True, error_code="engine_error", error_message="Once")

    complete(task)

    row = reload(task)
    assert (row.status, row.progress) == (Status.COMPLETED, 1.0)
    assert row.inference_seconds == 1.5
    assert row.detected_language == "en"
    assert (row.error_code, row.error_message) == ("", "")
    assert row.transcript.text == "Hi."
    assert row.transcript.segments[0]["text"] == " Hi."
    assert row.transcript.model["name"] == "demo"
    assert row.transcript.notices == ["small"]


def test_notices_of_media_and_engine_are_kept_together():
    task = TaskFactory(leased=True)
    decoded = replace(DECODED, notices=[MISSING])
    completion.finish_preparation(lease_of(task), decoded)
    lease = claims.claim_inference(task.pk, owner="w")
    assert lease

    completion.complete(
        lease,
        replace(HEARD, notices=[SHORT, MISSING]),
        model=MODEL,
        inference_seconds=1.5,
    )

    assert reload(task).notices == [MISSING.as_dict(), SHORT.as_dict()]


def test_a_worker_without_its_lease_adds_no_notice():
    task = TaskFactory(processing=True)

    with pytest.raises(LeaseLostError):
        completion.complete(
            TASKS.lease(task.pk, uuid.uuid4()),
            replace(HEARD, notices=[SHORT]),
            model=MODEL,
            inference_seconds=1.5,
        )

    assert reload(task).notices == []


def test_starting_again_clears_the_notices():
    task = TaskFactory(failed=True, notices=[MISSING.as_dict()])

    assert restart.start_again(task.pk)

    assert reload(task).notices == []


def test_a_copied_result_has_the_notices_of_its_source():
    task = TaskFactory(leased=True)
    source = TaskFactory(completed=True, owner=task.owner, notices=[MISSING.as_dict()])

    completion.complete_from(lease_of(task), source.pk)

    assert reload(task).notices == [MISSING.as_dict()]


def test_no_task_is_completed_without_its_transcript(monkeypatch):
    task = TaskFactory(processing=True)
    before = columns(task)

    def break_down(**values: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Transcript.objects, "create", break_down)
    with pytest.raises(RuntimeError):
        complete(task)

    assert columns(task) == before


@pytest.mark.parametrize(("share", "stored"), [(0.25, 0.25), (1.7, 1.0), (-1, 0.0)])
def test_progress_stays_a_share(share, stored):
    task = TaskFactory(processing=True)

    recording.record_progress(lease_of(task), share)

    row = reload(task)
    assert row.progress == stored
    assert row.progress_at is not None


@pytest.mark.parametrize("state", ["preparing, leased", "processing"])
def test_a_failure_is_tried_again_until_the_attempts_are_spent(state, settings):
    settings.MAX_ATTEMPTS = 3
    task = TaskFactory(**STATES[state])
    outcomes = []

    for attempts in (1, 2, 3):
        token = uuid.uuid4()
        TranscriptionTask.objects.update(
            status=(STATES[state].get("processing") and "processing") or "preparing",
            lease_token=token,
            attempts=attempts,
            not_before=None,
        )
        outcomes.append(retry(reload(task)))

    row = reload(task)
    assert outcomes == [Outcome.RETRIED, Outcome.RETRIED, Outcome.FAILED]
    assert (row.status, row.error_code) == (Status.FAILED, "engine_error")
    assert row.error_message == "The engine failed."
    assert row.lease_token is None


def test_a_retry_waits_and_tells_why():
    task = TaskFactory(processing=True, dispatched=True, progress=0.5)

    assert retry(task) is Outcome.RETRIED

    row = reload(task)
    assert row.status == Status.QUEUED
    assert row.not_before > timezone.now() + timedelta(seconds=2)
    assert (row.error_code, row.progress) == ("engine_error", 0.0)
    assert row.dispatched_at is None
    assert row.attempts == 1


@pytest.mark.parametrize("state", ["preparing, leased", "processing"])
def test_a_dead_workers_task_goes_back_without_spending_an_attempt(state):
    task = TaskFactory(**STATES[state], dispatched_at=timezone.now(), progress=0.5)

    outcome = STEPS["take_back"](task)

    row = reload(task)
    assert outcome is Outcome.RETRIED
    assert (row.attempts, row.losses) == (0, 1)
    assert row.dispatched_at is None
    assert row.progress == 0.0
    assert row.not_before is None


@pytest.mark.parametrize("settle", [failure.fail, failure.retry_or_fail])
def test_an_error_keeps_how_its_sentence_was_made(settle):
    task = TaskFactory(processing=True)
    said = Sentence(
        "The media is longer than the {seconds:g} seconds allowed.", seconds=9
    )

    settle(lease_of(task), code="media_too_long", message=said)

    row = reload(task)
    assert row.error_message == "The media is longer than the 9 seconds allowed."
    with override("zh-hans"):
        assert row.error_sentence.translated() == "媒体时长超出允许的 9 秒。"


def test_the_parts_of_an_error_do_not_outlive_it():
    task = TaskFactory(processing=True)
    said = Sentence("The engine failed on this audio ({reason}).", reason="MemoryError")
    failure.retry_or_fail(lease_of(task), code="engine_error", message=said)

    again = TASKS.lease(task.pk, uuid.uuid4())
    TranscriptionTask.objects.update(status="processing", lease_token=again.token)
    failure.fail(again, code="engine_error", message="Something else.")

    row = reload(task)
    assert row.error_sentence == "Something else."
    assert row.error_parts is None


def test_the_third_loss_fails_the_task():
    task = TaskFactory(processing=True)
    outcomes = []

    for _ in range(3):
        outcomes.append(STEPS["take_back"](reload(task)))
        claims.claim_inference(task.pk, owner="next")

    row = reload(task)
    assert outcomes == [Outcome.RETRIED, Outcome.RETRIED, Outcome.FAILED]
    assert (row.status, row.error_code) == (Status.FAILED, "worker_lost")
    assert row.losses == 3


def test_a_lease_that_runs_is_not_taken_back():
    task = TaskFactory(processing=True)

    assert lost_workers.take_back(task.pk, task.lease_token) is None
    assert reload(task).lease_token == task.lease_token


def test_an_expired_lease_is_taken_back():
    task = TaskFactory(
        processing=True, lease_expires_at=timezone.now() - timedelta(seconds=1)
    )

    assert lost_workers.take_back(task.pk, task.lease_token) is Outcome.RETRIED


def test_a_task_claimed_anew_is_not_taken_back():
    task = TaskFactory(processing=True)
    old = task.lease_token
    TranscriptionTask.objects.update(lease_token=uuid.uuid4())

    assert lost_workers.take_back(task.pk, old, only_expired=False) is None


def test_a_cancelled_task_of_a_dead_worker_ends_cancelled():
    task = TaskFactory(processing=True)
    cancelling.cancel(task.pk)

    assert STEPS["take_back"](task) is Outcome.CANCELLED
    assert reload(task).status == Status.CANCELLED


# --- Cancelling ----------------------------------------------------------------------


@pytest.mark.parametrize("state", ["preparing", "queued"])
def test_a_waiting_task_is_cancelled_at_once(state):
    task = TaskFactory(**STATES[state])

    assert cancelling.cancel(task.pk) is True

    row = reload(task)
    assert row.status == Status.CANCELLED
    assert row.cancel_requested_at is not None
    assert row.finished_at is not None


@pytest.mark.parametrize("state", ["preparing, leased", "processing"])
def test_a_running_task_is_asked_to_stop(state):
    task = TaskFactory(**STATES[state])

    assert cancelling.cancel(task.pk) is True
    assert cancelling.cancel(task.pk) is True

    row = reload(task)
    assert not row.is_finished
    assert row.cancel_requested_at is not None
    assert TASKS.renew([lease_of(task)]) == {task.lease_token: True}


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_an_ended_task_cannot_be_cancelled(state):
    task = TaskFactory(**STATES[state])

    assert cancelling.cancel(task.pk) is False


def test_a_task_that_is_gone_cannot_be_cancelled():
    assert cancelling.cancel(0) is False


@pytest.mark.parametrize(
    ("state", "step"),
    [
        ("preparing, leased", finish_preparation),
        ("preparing, leased", retry),
        ("processing", retry),
    ],
)
def test_a_cancelled_task_never_goes_back_to_waiting(state, step):
    """Else it would wait for ever: nobody claims a task that is to be cancelled."""
    task = TaskFactory(**STATES[state])
    cancelling.cancel(task.pk)

    outcome = step(reload(task))

    assert outcome is Outcome.CANCELLED
    row = reload(task)
    assert row.status == Status.CANCELLED
    assert row.finished_at is not None
    assert row.lease_token is None


def test_cancelling_a_task_that_comes_back_to_waiting_meanwhile(monkeypatch):
    task = TaskFactory(leased=True)
    calls = []

    def now_after_the_task_came_back() -> Any:
        # Both updates of `cancel` ask for the time: between them the task is queued.
        calls.append(1)
        if len(calls) == 3:
            TranscriptionTask.objects.filter(pk=task.pk).update(
                status=Status.QUEUED, **NO_LEASE
            )
        return Now()

    monkeypatch.setattr(cancelling, "Now", now_after_the_task_came_back)

    assert cancelling.cancel(task.pk) is True
    assert reload(task).cancel_requested_at is not None
