"""A task's whole way in one process, with real media and the real demo model."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError
from django.utils import timezone

from accounts import usage
from tests.integration import steps
from tests.support.engines import ScriptedEngine
from tests.support.factories import TaskFactory
from tests.support.media_files import make_tone, write_audio, write_media, write_wav
from tests.support.stored_files import TaskFiles
from transcription import database, storage
from transcription.accuracy import word_error_rate
from transcription.documents.results import (
    language_detection_document,
    result_document,
)
from transcription.engines import demo_model
from transcription.engines.plan import parse_slot
from transcription.engines.registry import create_engine, set_current_engine
from transcription.errors import ModelUnavailableError
from transcription.media.types import AllowedTypes
from transcription.models import TranscriptionTask
from transcription.services import execution, preparation
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import cancelling, completion
from transcription.services.transitions.changes import Outcome
from transcription.tasks import prepare_media, run_transcription
from transcription.work.heartbeat import heartbeat

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("no_hints", "quiet_heart", "each_storage"),
]

SAMPLES = {sample.language: sample for sample in demo_model.samples()}


@pytest.fixture
def submitted() -> Callable[..., Any]:
    """Make a task whose original is this file."""

    def submit(path: Path, **values: Any) -> Any:
        task = TaskFactory(**values)
        files = TaskFiles(task.public_id)
        files.create()
        files.original.write_bytes(path.read_bytes())
        return task

    return submit


@pytest.fixture
def prepared() -> Callable[..., Any]:
    """Make a queued task with a second of prepared samples."""

    def prepare(**values: Any) -> Any:
        task = TaskFactory(queued=True, **values)
        files = TaskFiles(task.public_id)
        files.create()
        files.samples.write_bytes(make_tone(1.0).tobytes())
        return task

    return prepare


def left_of(task: Any) -> list[str]:
    """The files of a task; an upload stays for a while where it may start again."""
    return TaskFiles(task.public_id).names()


def run(task: Any, engine: Any) -> list[Outcome | None]:
    outcomes = [
        steps.prepare(task.pk, owner="media"),
        steps.execute(task.pk, engine=engine, owner="slot"),
    ]
    task.refresh_from_db()
    return outcomes


@pytest.mark.one_database
@pytest.mark.parametrize("task_type", ["transcribe", "detect_language"])
def test_a_recording_too_short_for_a_word_needs_no_model(
    submitted, tmp_path, task_type
):
    class NoModel(ScriptedEngine):
        def transcribe(self, *_args: Any, **_options: Any) -> Any:
            raise AssertionError("the model was called")

        def detect_language(self, *_args: Any, **_options: Any) -> Any:
            raise AssertionError("the model was called")

    path = write_wav(tmp_path / "a.wav", make_tone(0.19))
    task = submitted(path, task_type=task_type)

    assert run(task, NoModel()) == [Outcome.QUEUED, Outcome.COMPLETED]

    assert (task.transcript.text, task.transcript.segments) == ("", [])
    (notice,) = task.notices
    assert notice["code"] == "audio_too_short"
    assert notice["details"] == {"seconds": 0.19, "least": 0.2}


# --- Good media ----------------------------------------------------------------------


@pytest.mark.parametrize("task_type", ["transcribe", "translate", "detect_language"])
def test_the_audio_of_a_task_is_counted_for_its_owner(submitted, task_type):
    sample = SAMPLES["en"]
    task = submitted(sample.path, task_type=task_type)

    steps.prepare(task.pk)

    used = usage.used_by_owner(task.owner_id)
    assert used.audio_seconds == pytest.approx(sample.seconds, abs=0.1)
    assert used.tasks == 1


@pytest.mark.parametrize("language", ["en", "es"])
def test_speech_becomes_text(submitted, engine, language):
    sample = SAMPLES[language]
    task = submitted(sample.path)

    assert run(task, engine) == [Outcome.QUEUED, Outcome.COMPLETED]

    transcript = task.transcript
    assert word_error_rate(sample.texts[language], transcript.text) < 0.3
    assert task.detected_language == transcript.language == language
    assert 0 < transcript.language_probability <= 1
    assert transcript.duration_seconds == pytest.approx(sample.seconds, abs=0.1)
    assert transcript.model["name"] == "demo"
    assert transcript.model["revision"] == demo_model.revision()
    assert transcript.notices == [demo_model.NOTICE]
    starts = [segment["start"] for segment in transcript.segments]
    assert starts == sorted(starts)
    assert task.progress == 1.0
    assert task.inference_seconds > 0


@pytest.mark.one_database
def test_speech_is_translated_with_timed_words(submitted, engine):
    sample = SAMPLES["es"]
    task = submitted(
        sample.path,
        task_type="translate",
        language="es",
        options={"word_timestamps": True, "beam_size": 1},
    )

    assert run(task, engine) == [Outcome.QUEUED, Outcome.COMPLETED]

    transcript = task.transcript
    assert word_error_rate(sample.texts["en"], transcript.text) < 0.3
    assert transcript.options["task"] == "translate"
    assert transcript.options["beam_size"] == 1
    words = [word for part in transcript.segments for word in part["words"]]
    assert "".join(word["word"] for word in words).strip() == transcript.text


@pytest.mark.one_database
def test_the_language_of_a_recording_is_detected(submitted, engine):
    task = submitted(SAMPLES["zh"].path, task_type="detect_language")

    assert run(task, engine) == [Outcome.QUEUED, Outcome.COMPLETED]

    assert task.transcript.language == "zh"
    assert task.transcript.text == ""
    assert sum(task.transcript.language_probabilities.values()) <= 1.001


@pytest.mark.one_database
def test_the_sound_of_a_video_is_heard(submitted, engine, tmp_path):
    video = write_media(
        tmp_path / "v.mp4", make_tone(1.0), container="mp4", video_codec="mpeg4"
    )
    task = submitted(video)

    assert run(task, engine) == [Outcome.QUEUED, Outcome.COMPLETED]
    assert task.has_video is True
    assert task.media_duration_seconds == pytest.approx(1.0, abs=0.1)


@pytest.mark.one_database
@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.5])
def test_a_moment_without_speech_has_an_empty_text(
    submitted, engine, tmp_path, seconds
):
    task = submitted(write_wav(tmp_path / "a.wav", make_tone(seconds) // 1000))

    assert run(task, engine) == [Outcome.QUEUED, Outcome.COMPLETED]
    assert task.transcript.text == ""
    assert task.transcript.segments == []


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ({}, ""),
        ({"language": "es"}, "es"),
        ({"options": {"vad_filter": False}}, ""),
        ({"options": {"batching": "off"}}, ""),
        ({"task_type": "detect_language"}, ""),
    ],
    ids=str,
)
def test_where_nobody_speaks_no_language_is_invented(
    submitted, engine, tmp_path, asked, language
):
    task = submitted(write_wav(tmp_path / "a.wav", make_tone(2.0) // 1000), **asked)

    run(task, engine)

    transcript = task.transcript
    assert (transcript.text, task.detected_language) == ("", language)
    assert (transcript.language, transcript.language_probability) == (language, None)
    assert transcript.language_probabilities == {}
    assert [notice["code"] for notice in task.notices] == ["no_speech"]
    if language:
        return
    shown = (
        language_detection_document(transcript)
        if task.task_type == "detect_language"
        else result_document(transcript)
    )
    assert shown["language"] is None
    assert shown["notices"][0]["code"] == "no_speech"


@pytest.mark.one_database
def test_a_file_that_was_cut_short_yields_what_it_has(submitted, engine, tmp_path):
    whole = write_audio(tmp_path / "a.mp3", make_tone(4.0), "mp3")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    task = submitted(whole)

    assert run(task, engine) == [Outcome.QUEUED, Outcome.COMPLETED]
    assert task.media_duration_seconds == pytest.approx(2.0, abs=0.2)


def test_the_files_of_an_ended_task_go(submitted, engine, tmp_path):
    task = submitted(write_wav(tmp_path / "a.wav", make_tone(0.1)))

    run(task, engine)

    assert not TaskFiles(task.public_id).exist()


# --- Bad media -----------------------------------------------------------------------


def no_media(folder: Path) -> Path:
    path = folder / "notes.mp3"
    path.write_text("This is no music.\n" * 100)
    return path


def silent_film(folder: Path) -> Path:
    return write_media(folder / "v.mp4", None, container="mp4", video_codec="mpeg4")


def cut_before_its_index(folder: Path) -> Path:
    path = write_audio(folder / "a.m4a", make_tone(3.0), "m4a")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def no_sample(folder: Path) -> Path:
    return write_wav(folder / "a.wav", make_tone(0))


def too_long(folder: Path) -> Path:
    return write_wav(folder / "a.wav", make_tone(3.0))


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("make", "code"),
    [
        (no_media, "invalid_media"),
        (silent_film, "no_audio"),
        (cut_before_its_index, "media_incomplete"),
        (no_sample, "no_audio"),
        (too_long, "media_too_long"),
    ],
)
def test_bad_media_fail_at_once_with_their_code(
    submitted, tmp_path, settings, make, code
):
    settings.MAX_MEDIA_SECONDS = 2
    task = submitted(make(tmp_path))

    assert run(task, ScriptedEngine()) == [Outcome.FAILED, None]

    assert (task.status, task.error_code, task.attempts) == ("failed", code, 1)
    assert task.error_message.endswith(".")
    assert str(django_settings.MEDIA_ROOT) not in task.error_message
    assert left_of(task) == ["original"]


def test_content_of_a_type_that_is_not_allowed_fails_whatever_its_name(
    submitted, tmp_path, settings
):
    settings.ALLOWED_TYPES = AllowedTypes(("mp3", "video"))
    task = submitted(
        write_wav(tmp_path / "a", make_tone(0.3)), file_name="interview.mp3"
    )

    assert run(task, ScriptedEngine()) == [Outcome.FAILED, None]

    assert (task.error_code, task.attempts) == ("type_not_allowed", 1)
    assert "of the type .wav," in task.error_message
    assert "It accepts: mp3, video." in task.error_message


def test_media_that_the_storage_lost_are_tried_again(settings):
    settings.MAX_ATTEMPTS = 2
    task = TaskFactory()
    TaskFiles(task.public_id).create()

    first = steps.prepare(task.pk, owner="media")
    TranscriptionTask.objects.update(not_before=None)
    second = steps.prepare(task.pk, owner="media")

    task.refresh_from_db()
    assert [first, second] == [Outcome.RETRIED, Outcome.FAILED]
    assert (task.status, task.error_code) == ("failed", "storage_error")


def test_a_full_disk_is_tried_again(submitted, tmp_path, monkeypatch):
    task = submitted(write_wav(tmp_path / "a.wav", make_tone(0.1)))

    def no_space(*args: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "decode", no_space)

    assert steps.prepare(task.pk, owner="media") is Outcome.RETRIED
    task.refresh_from_db()
    assert (task.status, task.error_code) == ("preparing", "storage_error")
    assert TaskFiles(task.public_id).original.exists()


def test_a_storage_that_cannot_tell_the_size_is_tried_again(
    submitted, tmp_path, monkeypatch
):
    task = submitted(write_wav(tmp_path / "a.wav", make_tone(0.1)))

    def stale(*args: Any) -> Any:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(type(storage.current()), "occupied_bytes", stale)

    assert steps.prepare(task.pk, owner="media") is Outcome.RETRIED
    task.refresh_from_db()
    assert (task.status, task.error_code) == ("preparing", "storage_error")


# --- Engines that fail ---------------------------------------------------------------


def test_an_engine_that_raises_is_tried_again_and_then_fails(prepared, settings):
    settings.MAX_ATTEMPTS = 3

    def break_down(listener: Any) -> None:
        raise ZeroDivisionError("secret detail")

    task = prepared()
    outcomes = []

    for _ in range(3):
        TranscriptionTask.objects.update(not_before=None)
        engine = ScriptedEngine(break_down)
        outcomes.append(steps.execute(task.pk, engine=engine, owner="slot"))

    task.refresh_from_db()
    assert outcomes == [Outcome.RETRIED, Outcome.RETRIED, Outcome.FAILED]
    assert (task.status, task.error_code) == ("failed", "engine_error")
    assert task.attempts == 3
    assert "secret detail" not in task.error_message
    assert not TaskFiles(task.public_id).exist()


def test_a_retried_task_keeps_its_samples_and_waits(prepared):
    def break_down(listener: Any) -> None:
        raise MemoryError

    task = prepared()
    engine = ScriptedEngine(break_down)

    assert steps.execute(task.pk, engine=engine, owner="s") is Outcome.RETRIED

    assert TaskFiles(task.public_id).samples.exists()
    assert steps.execute(task.pk, engine=ScriptedEngine(), owner="s") is None
    TranscriptionTask.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    outcome = steps.execute(task.pk, engine=ScriptedEngine(), owner="s")
    assert outcome is Outcome.COMPLETED


def test_samples_that_are_gone_are_an_error_of_the_engine(prepared):
    task = prepared()
    TaskFiles(task.public_id).discard()

    outcome = steps.execute(task.pk, engine=ScriptedEngine(), owner="slot")

    task.refresh_from_db()
    assert outcome is Outcome.RETRIED
    assert task.error_code == "engine_error"


def test_options_of_another_release_fail_the_task(prepared):
    task = prepared(options={"best_off": 3})

    outcome = steps.execute(task.pk, engine=ScriptedEngine(), owner="slot")

    task.refresh_from_db()
    assert outcome is Outcome.FAILED
    assert (task.status, task.error_code) == ("failed", "unsupported_option")
    assert "best_off" in task.error_message


# --- Cancelled and lost --------------------------------------------------------------


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("languages", "asked", "code"),
    [
        (("en", "es"), {"language": "yue"}, "unsupported_language"),
        (("en",), {"task_type": "translate"}, "unsupported_task"),
        (("en",), {"task_type": "detect_language"}, "unsupported_task"),
    ],
)
def test_what_the_loaded_model_cannot_do_fails_the_task_before_any_work(
    prepared, languages, asked, code
):
    task = prepared(**asked)
    engine = ScriptedEngine(languages=languages)

    assert steps.execute(task.pk, engine=engine) is Outcome.FAILED

    task.refresh_from_db()
    assert (task.error_code, engine.calls) == (code, [])
    assert "'demo'" in task.error_message


def test_a_task_that_is_cancelled_while_it_runs_ends_cancelled(prepared):
    task = prepared()

    def cancel(listener: Any) -> None:
        cancelling.cancel(task.pk)
        heartbeat.beat()
        listener(0.5)

    outcome = steps.execute(task.pk, engine=ScriptedEngine(cancel), owner="slot")

    task.refresh_from_db()
    assert outcome is Outcome.CANCELLED
    assert task.status == "cancelled"
    assert task.lease_token is None
    assert not TranscriptionTask.objects.filter(transcript__isnull=False).exists()
    assert not TaskFiles(task.public_id).exist()


def test_a_task_that_is_cancelled_while_it_is_prepared_ends_cancelled(
    submitted, tmp_path, monkeypatch
):
    task = submitted(write_wav(tmp_path / "a.wav", make_tone(3.0)))
    decode = preparation.decode

    def decode_after_cancelling(task: Any, held: Any) -> Any:
        cancelling.cancel(task.pk)
        heartbeat.beat()
        return decode(task, held)

    monkeypatch.setattr(preparation, "decode", decode_after_cancelling)

    assert steps.prepare(task.pk, owner="media") is Outcome.CANCELLED
    task.refresh_from_db()
    assert task.status == "cancelled"
    assert left_of(task) == ["original"]


def test_a_cancellation_at_the_last_moment_of_preparation_counts(
    submitted, tmp_path, monkeypatch
):
    task = submitted(write_wav(tmp_path / "a.wav", make_tone(0.5)))
    decode = preparation.decode

    def cancel_after_decoding(task: Any, held: Any) -> Any:
        decoded = decode(task, held)
        cancelling.cancel(task.pk)
        return decoded

    monkeypatch.setattr(preparation, "decode", cancel_after_decoding)

    assert steps.prepare(task.pk, owner="media") is Outcome.CANCELLED
    assert left_of(task) == ["original"]


@pytest.mark.parametrize("noticed", [True, False])
def test_a_worker_whose_lease_is_lost_writes_nothing(prepared, noticed):
    task = prepared()
    others = uuid.uuid4()

    def lose(listener: Any) -> None:
        TranscriptionTask.objects.update(lease_token=others, lease_owner="other")
        if noticed:
            heartbeat.beat()
            listener(0.5)

    outcome = steps.execute(task.pk, engine=ScriptedEngine(lose), owner="slot")

    task.refresh_from_db()
    assert outcome is Outcome.LOST
    assert (task.status, task.lease_token) == ("processing", others)
    assert not TranscriptionTask.objects.filter(transcript__isnull=False).exists()
    assert TaskFiles(task.public_id).samples.exists(), "the new owner needs them"


def test_a_task_that_is_deleted_while_it_runs_leaves_nothing(prepared):
    task = prepared()

    def delete(listener: Any) -> None:
        TranscriptionTask.objects.all().delete()
        TaskFiles(task.public_id).discard()

    outcome = steps.execute(task.pk, engine=ScriptedEngine(delete), owner="slot")

    assert outcome is Outcome.LOST
    assert not TranscriptionTask.objects.exists()


def test_progress_is_written_now_and_then(prepared, monkeypatch):
    task = prepared(media_duration_seconds=10.0)
    monkeypatch.setattr("transcription.services.progress.PROGRESS_SECONDS", 0.0)
    seen: list[float] = []

    def report(listener: Any) -> None:
        for seconds in (2.5, 5.0, 12.0):
            listener(seconds)
            seen.append(TranscriptionTask.objects.get().progress)

    steps.execute(task.pk, engine=ScriptedEngine(report), owner="slot")

    assert seen == [0.25, 0.5, 1.0]


@pytest.mark.django_db(transaction=True)
def test_a_short_outage_of_the_database_does_not_lose_the_result(prepared, monkeypatch):
    task = prepared()
    complete = completion.complete
    outages = iter([True, True])

    def complete_after_outage(*args: Any, **kwargs: Any) -> None:
        if next(outages, False):
            raise OperationalError("the server closed the connection")
        complete(*args, **kwargs)

    monkeypatch.setattr(completion, "complete", complete_after_outage)
    monkeypatch.setattr(database, "FIRST_PAUSE_SECONDS", 0.001)
    for module in (database, execution):
        monkeypatch.setattr(module, "will_pass", lambda error: True)

    outcome = steps.execute(task.pk, engine=ScriptedEngine(), owner="slot")

    assert outcome is Outcome.COMPLETED
    assert next(outages, None) is None


# --- Celery's entry points -----------------------------------------------------------


def deliver(celery_task: Any, lane: str) -> Any:
    """Let a message arrive in this process."""
    return celery_task.apply(args=[lane])


def test_a_message_runs_the_task_once(prepared):
    task = prepared()
    TASKS.mark_dispatched(task.pk)
    set_current_engine(ScriptedEngine())

    first = deliver(run_transcription, "demo.normal")
    second = deliver(run_transcription, "demo.normal")

    assert first.result == {"task": str(task.public_id), "outcome": "completed"}
    assert second.state == "IGNORED"


def test_a_message_prepares_the_task_once(submitted, tmp_path):
    task = submitted(write_wav(tmp_path / "a.wav", make_tone(0.5)))

    TASKS.mark_dispatched(task.pk)
    result = {"task": str(task.public_id), "outcome": "queued"}

    assert deliver(prepare_media, "prepare.normal").result == result
    assert deliver(prepare_media, "prepare.normal").state == "IGNORED"


def test_a_message_that_finds_nobody_in_its_lane_is_dropped(prepared):
    set_current_engine(ScriptedEngine())
    TASKS.mark_dispatched(prepared().pk)

    assert deliver(run_transcription, "demo.high").state == "IGNORED"
    assert deliver(run_transcription, "demo.low").state == "IGNORED"
    assert deliver(prepare_media, "prepare.normal").state == "IGNORED"


# --- Models that cannot be had -------------------------------------------------------


@pytest.mark.one_database
@pytest.mark.parametrize("content", [b"", b"garbage" * 100], ids=["empty", "garbage"])
def test_a_broken_model_is_named_without_its_path(tmp_path, content):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "model.bin").write_bytes(content)
    (folder / "config.json").write_text("{}")
    slot = parse_slot(f"cpu={folder}", 0, "faster-whisper")
    broken = create_engine(slot, model_dir=tmp_path / "models", cpu_threads=1)

    with pytest.raises(ModelUnavailableError) as caught:
        broken.load()

    assert "'my-model'" in caught.value.message
    assert str(tmp_path) not in caught.value.message
