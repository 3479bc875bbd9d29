"""A result that the database cannot take is kept in a file, and used once it can."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from django.db import OperationalError

from tests.integration import steps
from tests.support.engines import ScriptedEngine
from tests.support.factories import TaskFactory
from tests.support.media_files import make_tone
from tests.support.stored_files import TaskFiles
from transcription import database
from transcription.engines.base import ModelInfo, Segment, Transcription, Word
from transcription.models import Transcript, TranscriptionTask
from transcription.notices import Notice, NoticeCode
from transcription.services import execution, progress, slots, spool
from transcription.services.transitions import completion, recording
from transcription.services.transitions.changes import Outcome
from whisperhub.sentences import Sentence

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("no_hints", "quiet_heart", "each_storage"),
]

OWNER = "cpu-0@tests/1"
HEARD = Transcription(
    text="Hi there.",
    language="en",
    language_probability=math.nan,
    duration_seconds=1.0,
    duration_after_vad_seconds=None,
    segments=[
        Segment(0, 0, 0.1, 0.5, " Hi", [1], 0.0, -0.1, 1.0, 0.1),
        Segment(
            *(1, 0, 0.5, 0.9, " there.", [2, 3], 0.2, -0.2, 1.1, 0.0),
            words=[Word(" there.", 0.5, 0.9, 1 / 3)],
        ),
    ],
    language_probabilities={"en": 0.9},
    options={"beam_size": 5},
    notices=[
        Notice(
            NoticeCode.AUDIO_MISSING,
            Sentence("{seconds} s are missing.", seconds=2.5),
            {"seconds": 2.5},
        )
    ],
)
MODEL = ModelInfo("demo", "r1", "faster-whisper", "cuda:0", "float16", notice="small")
RESULT = spool.Result(HEARD, MODEL, 1.25)


class Power(BaseException):
    """What ends a process without asking it."""


@pytest.fixture
def prepared() -> Any:
    """A queued task with a second of samples."""
    task = TaskFactory(queued=True, media_duration_seconds=1.0)
    files = TaskFiles(task.public_id)
    files.create()
    files.samples.write_bytes(make_tone(1.0).tobytes())
    return task


@pytest.fixture
def outage(monkeypatch) -> Callable[..., None]:
    """Have the first calls of a change find no database."""

    def begin(module: ModuleType, name: str, *events: Any) -> None:
        change, coming = getattr(module, name), iter(events)

        def changed(*args: Any, **kwargs: Any) -> Any:
            event = next(coming, None)
            if callable(event):
                event = event()
            if event is not None:
                raise event
            return change(*args, **kwargs)

        monkeypatch.setattr(module, name, changed)

    monkeypatch.setattr(database, "FIRST_PAUSE_SECONDS", 0.001)
    for module in (database, execution, progress):
        monkeypatch.setattr(module, "will_pass", lambda error: True)
    return begin


def away() -> OperationalError:
    return OperationalError("the server closed the connection")


def refuse(listener: Any) -> None:
    raise AssertionError("decoded again")


# --- While the database is away ------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_result_is_in_a_file_until_it_is_stored(prepared, outage):
    files = TaskFiles(prepared.public_id)
    seen: list[bool] = []

    def look() -> None:
        seen.append(files.result.exists())

    outage(completion, "complete", away(), look)

    outcome = steps.execute(prepared.pk, engine=ScriptedEngine(), owner=OWNER)

    assert outcome is Outcome.COMPLETED
    assert seen == [True]
    assert not files.exist()


@pytest.mark.django_db(transaction=True)
def test_a_disk_that_refuses_the_file_loses_nothing(prepared, outage, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(28)))
    outage(completion, "complete", away(), away())

    outcome = steps.execute(prepared.pk, engine=ScriptedEngine(), owner=OWNER)

    assert outcome is Outcome.COMPLETED
    assert Transcript.objects.count() == 1
    assert not TaskFiles(prepared.public_id).exist()


@pytest.mark.django_db(transaction=True)
def test_an_error_that_will_not_pass_is_no_outage(prepared, outage, monkeypatch):
    monkeypatch.setattr(execution, "will_pass", lambda error: False)
    outage(completion, "complete", away())

    with pytest.raises(OperationalError):
        steps.execute(prepared.pk, engine=ScriptedEngine(), owner=OWNER)

    assert not TaskFiles(prepared.public_id).result.exists()


@pytest.mark.django_db(transaction=True)
def test_the_next_worker_stores_the_result_of_one_that_died(prepared, outage):
    outage(completion, "complete", away(), Power())
    with pytest.raises(Power):
        steps.execute(prepared.pk, engine=ScriptedEngine(), owner=OWNER)
    slots.release_jobs(OWNER)

    outcome = steps.execute(
        prepared.pk, engine=ScriptedEngine(refuse), owner="cpu-1@tests/2"
    )

    assert outcome is Outcome.COMPLETED
    prepared.refresh_from_db()
    assert (prepared.attempts, prepared.losses) == (1, 1)
    assert prepared.transcript.text == "Hi."
    assert not TaskFiles(prepared.public_id).exist()


@pytest.mark.django_db(transaction=True)
def test_the_engine_goes_on_while_progress_cannot_be_noted(
    prepared, outage, monkeypatch
):
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(progress, "AWAY_SECONDS", 0.0)
    outage(recording, "record_progress", away())
    parts: list[Any] = []

    def work(listener: Any) -> None:
        for number, segment in enumerate(HEARD.segments):
            listener.segments([segment])
            listener(0.4 * (number + 1))
            parts.append([part.segments for part in prepared.parts.all()])

    outcome = steps.execute(prepared.pk, engine=ScriptedEngine(work), owner=OWNER)

    assert outcome is Outcome.COMPLETED
    # What was heard during the outage came with the next report.
    assert parts[0] == []
    assert [[segment["id"] for segment in part] for part in parts[1]] == [[0, 1]]
    assert TranscriptionTask.objects.get().attempts == 1


# --- The file ------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was(prepared):
    spool.keep(prepared, RESULT)

    found = spool.find(prepared, MODEL)

    assert found is not None
    assert math.isnan(found.transcription.language_probability or 0)
    # NaN equals nothing.
    whole = dataclasses.replace(found.transcription, language_probability=0.5)
    assert whole == dataclasses.replace(HEARD, language_probability=0.5)
    assert (found.model, found.inference_seconds) == (MODEL, 1.25)


def test_a_result_is_found_by_another_device_with_the_same_model(prepared):
    spool.keep(prepared, RESULT)
    here = dataclasses.replace(MODEL, device="cpu", compute_type="int8")

    assert spool.find(prepared, here) is not None


@pytest.mark.parametrize(
    "other", [{"revision": "r2"}, {"name": "small"}, {"engine": "openai-whisper"}]
)
def test_the_result_of_another_model_is_none(prepared, other):
    spool.keep(prepared, RESULT)

    assert spool.find(prepared, dataclasses.replace(MODEL, **other)) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"language": "es"},
        {"task_type": "translate"},
        {"options": {"a": 1}},
        {"media_sha256": "0" * 64},
    ],
)
def test_the_result_of_another_question_is_none(prepared, asked):
    spool.keep(prepared, RESULT)
    for name, value in asked.items():
        setattr(prepared, name, value)

    assert spool.find(prepared, MODEL) is None


def of_another_form(content: bytes) -> bytes:
    kept = json.loads(content.partition(b"\n")[2])
    changed = json.dumps({**kept, "form": 0}).encode()
    return hashlib.sha256(changed).hexdigest().encode() + b"\n" + changed


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content.replace(b"Hi there", b"Hi where"),
        lambda content: content.partition(b"\n")[2],
        lambda content: b"\xff" + content,
        of_another_form,
    ],
    ids=["empty", "cut", "changed", "without digest", "no text", "of another form"],
)
def test_a_damaged_file_is_ignored_and_decoding_begins_anew(prepared, damage):
    spool.keep(prepared, RESULT)
    file = TaskFiles(prepared.public_id).result
    file.write_bytes(damage(file.read_bytes()))
    engine = ScriptedEngine()

    outcome = steps.execute(prepared.pk, engine=engine, owner=OWNER)

    assert outcome is Outcome.COMPLETED
    assert len(engine.calls) == 1
    assert not TaskFiles(prepared.public_id).exist()


def test_a_task_that_was_deleted_gets_no_folder_again(prepared):
    files = TaskFiles(prepared.public_id)
    files.discard()

    spool.keep(prepared, RESULT)

    assert not files.exist()
