"""Every database gives back what was stored: characters, JSON, UUIDs, numbers."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from django.db import connection
from django.db.models import F

from tests.integration.steps import HEARD, MODEL
from tests.support.factories import TaskFactory
from transcription.models import Transcript, TranscriptionTask, WorkerSlot
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import completion, failure, lost_workers
from transcription.services.transitions.changes import Outcome
from transcription.work.kinds import Lease

pytestmark = pytest.mark.django_db

# Han beyond the first plane, a family of four joined by zero-width joiners, Gothic.
TEXT = "𠮷野家 👨‍👩‍👧‍👦 𐌰𐌱 naïve “quotes” \\ ' % ?"
Status = TranscriptionTask.Status


def lease_of(task: TranscriptionTask) -> Lease:
    assert task.lease_token is not None
    return TASKS.lease(task.pk, task.lease_token)


def test_four_byte_characters_are_kept_everywhere():
    task = TaskFactory(
        processing=True, file_name=TEXT, platform=TEXT[:20], options={TEXT: [TEXT]}
    )
    segment = replace(HEARD.segments[0], text=TEXT)

    completion.complete(
        lease_of(task),
        replace(HEARD, text=TEXT, segments=[segment]),
        model=MODEL,
        inference_seconds=1.0,
    )

    row = TranscriptionTask.objects.select_related("transcript").get(file_name=TEXT)
    assert row.platform == TEXT[:20]
    assert row.options == {TEXT: [TEXT]}
    assert row.transcript.text == TEXT
    assert row.transcript.segments[0]["text"] == TEXT


def test_four_byte_characters_are_kept_in_errors():
    task = TaskFactory(processing=True)

    failure.fail(lease_of(task), code="invalid_media", message=TEXT)

    assert TranscriptionTask.objects.get().error_message == TEXT


def test_what_a_database_refuses_does_not_cost_the_transcript():
    """A vocabulary of bytes can say NUL; float16 can say that a probability is NaN."""
    task = TaskFactory(processing=True)
    segment = replace(
        HEARD.segments[0], text=" a\0b\ud83dc", avg_logprob=float("nan"), words=None
    )
    heard = replace(
        HEARD,
        text="a\0b\ud83dc",
        segments=[segment],
        language_probability=float("nan"),
        language_probabilities={"en": float("-inf")},
    )

    completion.complete(lease_of(task), heard, model=MODEL, inference_seconds=1.0)

    transcript = Transcript.objects.get()
    assert transcript.text == "ab\N{REPLACEMENT CHARACTER}c"
    assert transcript.segments[0]["avg_logprob"] is None
    assert transcript.language_probability is None
    assert transcript.language_probabilities == {"en": None}


@pytest.mark.parametrize("settle", [failure.fail, failure.retry_or_fail])
def test_what_a_database_refuses_does_not_cost_the_error(settle):
    task = TaskFactory(processing=True)

    settle(lease_of(task), code="invalid_media", message="a\0b")

    assert TranscriptionTask.objects.get().error_message == "ab"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"temperature": [0.0, 0.2], "vad_filter": True, "initial_prompt": ""},
        {"deep": {"er": [None, False, 1, -1.5, "x", {}]}},
        {"float": 0.1 + 0.2, "int": 2**53 + 1},
    ],
)
def test_json_comes_back_as_it_was(value):
    TaskFactory(options=value)

    assert TranscriptionTask.objects.get().options == value


def test_numbers_come_back_as_they_were():
    TaskFactory(
        file_size_bytes=2**41,
        sample_rate=192_000,
        channels=255,
        media_duration_seconds=0.1 + 0.2,
        progress=1 / 3,
        has_video=False,
    )

    row = TranscriptionTask.objects.get()
    assert row.file_size_bytes == 2**41
    assert row.media_duration_seconds == 0.1 + 0.2
    assert row.progress == 1 / 3
    assert row.has_video is False


def test_rows_are_found_by_uuid():
    task = TaskFactory(processing=True)
    TaskFactory(processing=True)
    tasks = TranscriptionTask.objects

    assert tasks.get(public_id=task.public_id) == task
    assert tasks.get(public_id=str(task.public_id)) == task
    assert tasks.get(lease_token__in=[task.lease_token, uuid.uuid4()]) == task
    assert tasks.filter(pk=task.pk).values_list("lease_token", flat=True)[0] == (
        task.lease_token
    )


def test_slots_are_found_by_boot_id():
    from tests.support.factories import SlotFactory

    slot = SlotFactory()
    SlotFactory()

    assert WorkerSlot.objects.get(name=slot.name, boot_id=slot.boot_id) == slot


@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_an_attempt_given_back_never_falls_below_none(attempts):
    """The column is unsigned, and MySQL computes unsigned."""
    task = TaskFactory(processing=True, attempts=attempts)

    outcome = lost_workers.take_back(task.pk, task.lease_token, only_expired=False)

    assert outcome is Outcome.RETRIED
    assert TranscriptionTask.objects.get().attempts == max(0, attempts - 1)


def test_an_update_counts_rows_that_matched_not_rows_that_changed():
    """Claims rely on it: MySQL counts changed rows unless told otherwise."""
    task = TaskFactory(progress=0.5)

    changed = TranscriptionTask.objects.filter(pk=task.pk).update(
        progress=F("progress")
    )

    assert changed == 1


def test_indexes_and_constraints_of_the_models_are_in_the_database():
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(
            cursor, TranscriptionTask._meta.db_table
        )

    meta = TranscriptionTask._meta
    assert {index.name for index in meta.indexes} <= set(found)
    assert {constraint.name for constraint in meta.constraints} <= set(found)
    assert any(
        facts["unique"] and facts["columns"] == ["public_id"]
        for facts in found.values()
    )


def test_the_result_table_fits_the_shortest_index():
    from django_celery_results.models import TaskResult

    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(
            cursor, TaskResult._meta.db_table
        )

    task_id = next(column for column in columns if column.name == "task_id")
    # PostgreSQL tells the internal size, as Django's introspection passes it on.
    assert (task_id.display_size or task_id.internal_size) in (191, 191 * 4)
