"""A finished result answers the same question again, and no other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection

from tests.integration import steps
from tests.integration.databases import PLANS_ONLY, in_threads
from tests.integration.steps import lease_of
from tests.integration.test_list_plans import explain
from tests.support.factories import (
    SlotFactory,
    TaskFactory,
    TranscriptFactory,
    UserFactory,
)
from tests.support.media_files import make_tone, write_wav
from tests.support.stored_files import TaskFiles
from tests.support.upstreams import file, running_upstream
from tools import many_tasks
from transcription.errors import LeaseLostError
from transcription.models import Callback, Transcript, TranscriptionTask
from transcription.services import retention, reuse
from transcription.services.held_tasks import TASKS
from transcription.services.submission import (
    Link,
    TaskRequest,
    submit_link,
    submit_upload,
)
from transcription.services.transitions import cancelling, completion, lost_workers
from transcription.services.transitions.changes import Outcome

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("no_hints", "quiet_heart", "each_storage"),
]

REVISION = "0123456789ab"
NOT_COPIED = {"task_id", "created_at"}


@pytest.fixture
def sound(tmp_path) -> bytes:
    return write_wav(tmp_path / "tone.wav", make_tone(0.5)).read_bytes()


@pytest.fixture
def slot() -> Any:
    """What would decode, if it had to."""
    return SlotFactory(model="demo", model_revision=REVISION)


@pytest.fixture
def finished(sound: bytes, slot: Any) -> Callable[..., Any]:
    """Make a task that has its result, asked for in this way."""

    def make(content: bytes = sound, **values: Any) -> Any:
        revision = values.pop("revision", REVISION)
        asked = {
            "task_type": "transcribe",
            "engine": "faster-whisper",
            "model": "demo",
            "language": "",
            "options": {},
            **{name: values.pop(name) for name in list(values) if name in ASKED},
        }
        values.setdefault("completed", True)
        task = TaskFactory(
            media_sha256=hashlib.sha256(content).hexdigest(),
            question_digest=reuse.question_digest(**asked),
            transcript=None,
            **asked,
            **values,
        )
        if values["completed"]:
            transcript = TranscriptFactory(task=task)
            transcript.model["revision"] = revision
            transcript.save()
        return task

    return make


ASKED = {"task_type", "engine", "model", "language", "options"}


@pytest.fixture
def again(sound: bytes, make_upload: Any) -> Callable[..., Any]:
    """Submit the sound with the wish for a result that is there, and prepare it."""

    def submit(owner: Any, content: bytes = sound, **request: Any) -> Any:
        wanted = TaskRequest(**{"reuse": True, "model": "demo", **request})
        task = submit_upload(owner, make_upload(content), wanted)
        steps.prepare(task.pk, owner="media")
        task.refresh_from_db()
        return task

    return submit


def transcript_of(task: Any) -> dict[str, Any]:
    row = Transcript.objects.filter(task=task).values().get()
    return {name: value for name, value in row.items() if name not in NOT_COPIED}


# --- The same ------------------------------------------------------------------------


def test_a_result_is_there_at_once(finished, again):
    first = finished(detected_language="en")

    task = again(first.owner, callback_url="http://127.0.0.1/hook")

    assert task.status == "completed"
    assert task.reused_from == first.public_id
    assert transcript_of(task) == transcript_of(first)
    assert (task.progress, task.detected_language) == (1.0, "en")
    assert task.media_duration_seconds == first.media_duration_seconds
    assert task.audio_codec == first.audio_codec
    assert task.inference_seconds is None, "nothing was inferred"
    assert task.finished_at
    assert task.lease_token is None
    assert not TaskFiles(task.public_id).exist()
    assert Callback.objects.get(task=task).event == "task.completed"


def test_no_hint_for_the_model_is_sent(finished, again, monkeypatch):
    first = finished()
    monkeypatch.setattr(TASKS, "send_hint", lambda pk: pytest.fail("a hint"))

    assert again(first.owner).status == "completed"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"options": {"beam_size": 5}}, {}),
        ({}, {"options": {"beam_size": 5, "vad_filter": True}}),
        ({}, {"options": {"vad_parameters": {"threshold": 0.5}}}),
        ({"task_type": "detect_language"}, {"task_type": "detect_language"}),
        (
            {"options": {"temperature": [0.0], "initial_prompt": "Tokyo"}},
            {"options": {"initial_prompt": "Tokyo", "temperature": [0.0]}},
        ),
    ],
    ids=["default-left-out", "defaults-given", "nested", "detection", "order"],
)
def test_options_count_by_what_they_mean(finished, again, first, then):
    task = again(finished(**first).owner, **then)

    assert task.status == "completed"


def test_labels_and_priority_are_no_part_of_the_question(finished, again):
    first = finished(platform="radio", priority="low", file_name="a.mp3")

    assert again(first.owner, platform="web", priority="high").status == "completed"


def test_the_result_of_a_reused_result_can_be_reused(finished, again):
    second = again(finished().owner)

    third = again(second.owner)

    assert third.reused_from == second.public_id


# --- Not the same --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {"reuse": False}),
        ({}, {"language": "en"}),
        ({"language": "en"}, {}),
        ({}, {"task_type": "translate"}),
        ({}, {"options": {"beam_size": 4}}),
        ({"options": {"word_timestamps": True}}, {}),
        ({"model": "small"}, {}),
        ({"engine": "openai-whisper"}, {}),
        ({"revision": "ba9876543210"}, {}),
        ({"content": b"another sound"}, {}),
        ({"completed": False, "failed": True}, {}),
        ({"completed": False, "processing": True}, {}),
    ],
    ids=[
        "not-wanted",
        "language",
        "detected",
        "task-type",
        "option",
        "option-before",
        "model",
        "engine",
        "revision",
        "media",
        "failed",
        "running",
    ],
)
def test_a_result_of_something_else_is_none(finished, again, first, then):
    task = again(finished(**first).owner, **then)

    assert (task.status, task.reused_from) == ("queued", None)


def test_the_results_of_others_are_none(finished, again):
    finished()

    task = again(UserFactory())

    assert (task.status, task.reused_from) == ("queued", None)


def test_a_model_that_was_never_seen_has_no_results(finished, again, slot):
    first = finished()
    slot.delete()

    # The default one, for which tasks wait.
    assert again(first.owner, model="").status == "queued"


def test_after_an_update_of_the_model_the_former_slot_counts_no_more(
    finished, again, slot
):
    first = finished()
    slot.state = "stopped"
    slot.save()
    assert again(first.owner).status == "completed", "the last one that was seen"
    SlotFactory(model="demo", model_revision="ba9876543210")

    assert again(first.owner).status == "queued"


# --- Side by side --------------------------------------------------------------------


@pytest.mark.parametrize("deleted", ["first", "second"])
def test_deleting_either_leaves_the_other_whole(finished, again, deleted):
    first = finished()
    second = again(first.owner)
    content = transcript_of(first)
    gone, left = (first, second) if deleted == "first" else (second, first)

    retention.delete_task(gone)

    left.refresh_from_db()
    assert left.status == "completed"
    assert transcript_of(left) == content


def test_a_result_that_goes_meanwhile_is_made_anew(finished, again, monkeypatch):
    first = finished()
    complete_from = completion.complete_from

    def deleted_before(*args: Any) -> Any:
        retention.delete_task(first)
        return complete_from(*args)

    monkeypatch.setattr(completion, "complete_from", deleted_before)

    task = again(first.owner)

    assert (task.status, task.reused_from) == ("queued", None)
    assert TaskFiles(task.public_id).samples.exists()


def test_a_task_that_is_to_be_cancelled_is(finished):
    first = finished()
    task = TaskFactory(leased=True, owner=first.owner)
    cancelling.cancel(task.pk)

    outcome = completion.complete_from(lease_of(task), first.pk)

    assert outcome is Outcome.CANCELLED
    assert not Transcript.objects.filter(task=task).exists()


def test_without_the_lease_nothing_is_written(finished):
    first = finished()
    task = TaskFactory(leased=True, owner=first.owner)
    mine = lease_of(task)
    lost_workers.take_back(task.pk, mine.token, only_expired=False)

    with pytest.raises(LeaseLostError):
        completion.complete_from(mine, first.pk)

    assert not Transcript.objects.filter(task=task).exists()


@pytest.mark.django_db(transaction=True)
def test_a_deletion_at_the_same_time_leaves_a_whole_copy_or_none(finished):
    for _ in range(8):
        first = finished()
        content = transcript_of(first)
        task = TaskFactory(leased=True, owner=first.owner)

        outcome, _gone = in_threads(
            [
                partial(completion.complete_from, lease_of(task), first.pk),
                partial(retention.delete_task, first),
            ]
        )

        task.refresh_from_db()
        assert not TranscriptionTask.objects.filter(pk=first.pk).exists()
        if outcome is None:
            assert task.status == "preparing"
            assert not Transcript.objects.filter(task=task).exists()
        else:
            assert (outcome, task.status) == (Outcome.COMPLETED, "completed")
            assert transcript_of(task) == content


@pytest.mark.django_db(transaction=True)
def test_many_take_one_result_at_the_same_time(finished):
    first = finished()
    tasks = [TaskFactory(leased=True, owner=first.owner) for _ in range(6)]

    outcomes = in_threads(
        [partial(completion.complete_from, lease_of(task), first.pk) for task in tasks]
    )

    assert set(outcomes) == {Outcome.COMPLETED}
    assert Transcript.objects.count() == 7


# --- Links ---------------------------------------------------------------------------


def test_the_file_of_a_link_is_known_by_its_bytes(finished, sound):
    first = finished()
    with running_upstream() as upstream:
        upstream.always(file(sound))
        link = Link(f"{upstream.origin}/elsewhere.wav")
        wanted = TaskRequest(reuse=True, model="demo")
        task = submit_link(first.owner, link, wanted)

        outcome = steps.prepare(task.pk, owner="media")

    task.refresh_from_db()
    assert outcome is Outcome.COMPLETED
    assert task.media_sha256 == first.media_sha256
    assert task.reused_from == first.public_id
    assert not TaskFiles(task.public_id).exist()


# --- Speed ---------------------------------------------------------------------------


@PLANS_ONLY
def test_results_for_the_same_media_are_read_from_an_index(django_assert_num_queries):
    owner = many_tasks.fill(5000, owners=5)[0]
    SlotFactory(model="demo", model_revision=REVISION)
    many_tasks.analyse()
    some = TranscriptionTask.objects.filter(owner=owner)[0]
    task = TranscriptionTask(
        owner=owner,
        media_sha256=some.media_sha256,
        model="demo",
        engine="faster-whisper",
    )

    with django_assert_num_queries(2) as captured:
        list(reuse._candidates(task))

    plan = explain(captured.captured_queries[-1]["sql"])
    assert re.search(r"\btask_same_media\b", plan), plan
    assert connection.vendor != "sqlite" or "SCAN" not in plan, plan
