"""The engine that many jobs share, with the demo model; and what its jobs store."""

from __future__ import annotations

import threading
import time
import uuid
import wave
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from django.conf import settings as django_settings
from faster_whisper import WhisperModel
from rest_framework.test import APIClient

from tests.integration import steps
from tests.support.engines import ScriptedEngine
from tests.support.factories import ApiKeyFactory, TaskFactory, segment
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient, wait_for
from transcription.audio import SAMPLE_RATE, WINDOW_SAMPLES
from transcription.engines import chunked, demo_model
from transcription.engines.base import Segment, SilentListener, Transcription
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import parse_slot
from transcription.engines.registry import create_engine
from transcription.models import TranscriptionTask, TranscriptPart
from transcription.notices import NoticeCode
from transcription.samples import to_float
from transcription.services import progress
from transcription.services.transitions import cancelling, recording
from transcription.services.transitions.changes import Outcome
from transcription.work.heartbeat import heartbeat

SAMPLES = {sample.language: sample for sample in demo_model.samples()}
SECONDS = 60.0
# Cheap to decode, and always the same.
QUICK = {"temperature": (0.0,), "beam_size": 1}


def read(language: str) -> Any:
    """The samples of a bundled recording."""
    with wave.open(str(SAMPLES[language].path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def pause(seconds: float) -> Any:
    return np.zeros(int(seconds * SAMPLE_RATE), dtype=np.int16)


ENGLISH, SPANISH, CHINESE = read("en"), read("es"), read("zh")
# Chunks: pauses of more than 5 s lie between.
THREE_CHUNKS = np.concatenate([ENGLISH, pause(7.0), ENGLISH, pause(8.0), ENGLISH])
TWO_CHUNKS = np.concatenate([SPANISH[: 3 * SAMPLE_RATE], pause(7.0), ENGLISH[:40_000]])


class Listener(SilentListener):
    """Notes what it hears; stops the job when told to."""

    def __init__(self, priority: int = 1) -> None:
        self.priority = priority
        self.heard: list[Segment] = []
        self.progress: list[float] = []
        self.stopped = threading.Event()
        self.begun = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    def __call__(self, seconds_done: float) -> None:
        self.begun.set()
        self.progress.append(seconds_done)
        self.check()

    def check(self) -> None:
        if self.stopped.is_set():
            raise InterruptedError

    def on_stop(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def segments(self, segments: list[Segment]) -> None:
        self.heard.extend(segments)

    def stop(self) -> None:
        self.stopped.set()
        for callback in self._callbacks:
            callback()


def transcribe(engine: Any, samples: Any, **options: Any) -> Transcription:
    listener = options.pop("listener", None) or Listener()
    heard: Transcription = engine.transcribe(
        samples, DecodeOptions(**{**QUICK, **options}), listener
    )
    return heard


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def generate(engine, monkeypatch) -> Any:
    """Put a function before the model's own `generate`: gets its arguments."""
    whisper = engine.whisper
    model = whisper._model
    before: list[Callable[..., None]] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def generate(self, features: Any, prompts: Any, **keywords: Any) -> Any:
            for function in before:
                function(prompts, **keywords)
            return model.generate(features, prompts, **keywords)

    monkeypatch.setattr(whisper, "_model", Watched())
    return before


# --- The same text -------------------------------------------------------------------


@pytest.mark.parametrize("language", sorted(SAMPLES))
def test_batching_does_not_change_the_text(engine, language):
    samples = read(language)

    auto = transcribe(engine, samples, batching="auto")
    off = transcribe(engine, samples, batching="off")

    assert auto.text == off.text
    assert auto.text
    assert auto.language == off.language == language
    assert auto.language_probability == pytest.approx(off.language_probability, abs=0.1)
    assert auto.duration_seconds == off.duration_seconds == len(samples) / SAMPLE_RATE


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 5},
        {"word_timestamps": True, "vad_filter": False},
        {"task": "translate", "language": "es"},
    ],
)
def test_without_batching_all_is_as_the_library_has_it(engine, options):
    samples = np.concatenate([SPANISH, pause(3.0), SPANISH, SPANISH])

    ours = transcribe(engine, samples, batching="off", **options)

    library = WhisperModel(
        str(demo_model.ctranslate2_folder(django_settings.MODEL_DIR)),
        device="cpu",
        cpu_threads=1,
    )
    found, info = library.transcribe(
        to_float(samples),
        **{
            **QUICK,
            "vad_filter": True,
            "condition_on_previous_text": False,
            **options,
        },
    )
    theirs = list(found)
    assert len(ours.segments) == len(theirs) > 4
    for number, (mine, other) in enumerate(zip(ours.segments, theirs, strict=True)):
        assert mine.id == number
        for name in (
            *("seek", "start", "end", "text", "tokens", "temperature"),
            *("avg_logprob", "compression_ratio", "no_speech_prob"),
        ):
            assert getattr(mine, name) == getattr(other, name), name
        if other.words is None:
            assert mine.words is None
            continue
        assert [(w.word, w.start, w.end, w.probability) for w in mine.words or ()] == [
            (w.word, w.start, w.end, w.probability) for w in other.words
        ]
    assert (ours.language, ours.language_probability) == (
        info.language,
        info.language_probability,
    )
    assert ours.duration_after_vad_seconds == info.duration_after_vad


def test_jobs_side_by_side_get_what_they_get_alone(engine, threads):
    recordings = [ENGLISH, SPANISH, CHINESE, THREE_CHUNKS]
    alone = [transcribe(engine, samples) for samples in recordings]
    calls = engine.whisper.model_calls["generate"]

    together = list(threads.map(lambda s: transcribe(engine, s), recordings * 2))

    assert [heard.text for heard in together] == [heard.text for heard in alone] * 2
    assert [heard.language for heard in together] == ["en", "es", "zh", "en"] * 2
    assert [[s.tokens for s in heard.segments] for heard in together] == [
        [s.tokens for s in heard.segments] for heard in alone
    ] * 2
    # Alone they need as many for half of the jobs.
    assert engine.whisper.model_calls["generate"] - calls < calls


def test_calls_of_jobs_side_by_side_are_shared(engine, threads):
    before = (
        engine.whisper.model_calls["generate"],
        engine.whisper.model_rows["generate"],
    )

    list(threads.map(lambda s: transcribe(engine, s, language="en"), [ENGLISH] * 4))

    calls = engine.whisper.model_calls["generate"] - before[0]
    assert calls < engine.whisper.model_rows["generate"] - before[1]


# --- Times, ids and words ------------------------------------------------------------


def test_ids_times_and_places_are_those_of_the_media(engine):
    heard = transcribe(engine, THREE_CHUNKS)

    segments = heard.segments
    assert [part.id for part in segments] == list(range(len(segments)))
    assert all(part.start < part.end for part in segments)
    assert all(left.end <= right.start + 0.1 for left, right in pairwise(segments))
    assert [part.seek for part in segments] == sorted(part.seek for part in segments)
    for part in segments:
        # Frames of 10 ms; a window is 30 s long.
        assert part.seek / 100 <= part.start <= part.seek / 100 + 30
    beginnings = sorted({part.seek / 100 for part in segments})
    second = len(ENGLISH) / SAMPLE_RATE + 7
    assert len(beginnings) == 3
    assert beginnings[1] == pytest.approx(second, abs=1.0)
    once = [s for s in segments if s.start < second - 5]
    again = [s for s in segments if second - 1 < s.start < second + 12]
    assert [s.text for s in once] == [s.text for s in again]
    for one, other in zip(once, again, strict=True):
        assert other.start - one.start == pytest.approx(second, abs=0.3)


@pytest.mark.parametrize("batching", ["auto", "off"])
def test_words_rise_inside_their_segments(engine, batching):
    heard = transcribe(engine, THREE_CHUNKS, word_timestamps=True, batching=batching)

    words = [word for part in heard.segments for word in part.words or ()]
    assert "".join(word.word for word in words).strip() == heard.text
    for part in heard.segments:
        for word in part.words or ():
            assert part.start - 0.001 <= word.start <= word.end <= part.end + 0.001
            assert 0 <= word.probability <= 1
    assert all(left.start <= right.start for left, right in pairwise(words))
    assert words[-1].end <= heard.duration_seconds + 0.1


def test_a_recording_without_pauses_is_written_to_its_end(engine):
    samples = np.concatenate([ENGLISH] * 7)
    assert len(samples) > 2 * WINDOW_SAMPLES

    heard = transcribe(engine, samples, vad_filter=False)

    assert heard.segments[-1].end > len(samples) / SAMPLE_RATE - 3
    assert heard.text.count("Tokyo") >= 3


def test_prompt_and_hotwords_reach_every_chunk(engine, generate):
    prompts: list[list[int]] = []
    generate.append(lambda given, **keywords: prompts.extend(map(list, given)))

    for options in (
        {"initial_prompt": "Tokyo", "hotwords": "Berlin"},
        {"initial_prompt": "Tokyo"},
        {},
    ):
        transcribe(engine, TWO_CHUNKS, language="en", **options)
    with_both, with_one, prompts = prompts[:2], prompts[2:4], prompts[4:]

    def encoded(text: str) -> set[int]:
        return set(engine.model.hf_tokenizer.encode(text, add_special_tokens=False).ids)

    assert len(with_both) == len(with_one) == len(prompts) == 2
    for full, half, bare in zip(with_both, with_one, prompts, strict=True):
        assert len(full) > len(half) > len(bare)
        assert encoded(" Berlin") | encoded(" Tokyo") <= set(full)
        assert encoded(" Tokyo") <= set(half)


@pytest.mark.parametrize("vad_filter", [True, False])
@pytest.mark.parametrize("kind", ["silence", "noise"])
def test_nothing_is_heard_where_nobody_speaks(engine, kind, vad_filter):
    samples = pause(12.0)
    if kind == "noise":
        noise = np.random.default_rng(0).standard_normal(len(samples))
        samples = (1600 * noise).astype(np.int16)

    heard = transcribe(engine, samples, vad_filter=vad_filter)

    assert (heard.text, heard.segments) == ("", [])
    assert heard.duration_seconds == 12.0


def test_no_samples_have_no_text(engine):
    assert transcribe(engine, pause(0)).text == ""


# --- Languages -----------------------------------------------------------------------


NOISE = (1600 * np.random.default_rng(0).standard_normal(35 * SAMPLE_RATE)).astype(
    np.int16
)


def test_the_language_is_detected_where_somebody_speaks(engine):
    found = engine.detect_language(np.concatenate([NOISE, SPANISH, NOISE]), Listener())

    assert found.language == "es"
    assert found.probability > 0.9


def test_where_nobody_speaks_there_is_no_language(engine):
    calls = engine.whisper.model_calls.total()

    found = engine.detect_language(NOISE, Listener())
    heard = transcribe(engine, NOISE)

    assert (found.language, found.probability, found.probabilities) == (None, None, {})
    assert heard.language is None
    assert engine.whisper.model_calls.total() == calls


@pytest.mark.parametrize("options", [{}, {"condition_on_previous_text": True}])
def test_noise_before_the_speech_does_not_settle_the_language(engine, options):
    samples = np.concatenate([NOISE, SPANISH])

    heard = transcribe(engine, samples, vad_filter=False, **options)

    assert heard.language == "es"


@pytest.mark.parametrize("batching", ["auto", "off"])
def test_a_multilingual_job_tells_the_language_of_each_segment(engine, batching):
    # Without batching the library looks at each window of 30 s.
    first = np.concatenate([SPANISH, SPANISH, pause(30.0)])[: 30 * SAMPLE_RATE]
    samples = np.concatenate([first, ENGLISH])

    heard = transcribe(
        engine,
        samples,
        multilingual=True,
        batching=batching,
        vad_filter=batching == "auto",
    )

    languages = [segment.language for segment in heard.segments]
    assert set(languages) == {"es", "en"}
    assert (languages[0], languages[-1]) == ("es", "en")
    assert "Tokyo" in heard.text
    assert heard.language == "es"
    assert heard.notices == []


def test_chunks_in_another_language_are_noticed(engine):
    samples = np.concatenate([SPANISH, pause(7.0), ENGLISH])

    alone = transcribe(engine, SPANISH)
    mixed = transcribe(engine, samples)
    asked = transcribe(engine, samples, language="es")

    assert [notice.code for notice in mixed.notices] == [NoticeCode.OTHER_LANGUAGES]
    assert mixed.notices[0].details["others"] == ["en"]
    assert alone.notices == asked.notices == []
    assert all(segment.language is None for segment in mixed.segments)


def test_a_change_of_language_within_a_chunk_is_noticed(engine, monkeypatch):
    # The demo model is always sure.
    monkeypatch.setattr(chunked, "is_mixed", lambda heard, language: True)
    samples = np.concatenate([SPANISH, pause(0.4), ENGLISH])

    mixed = transcribe(engine, samples, language=None)

    (notice,) = mixed.notices
    assert notice.code == NoticeCode.OTHER_LANGUAGES
    assert notice.details["others"] == ["en"]
    assert notice.details["places"][-1]["end"] == pytest.approx(
        len(samples) / SAMPLE_RATE, abs=1.0
    )


# --- What the listener hears ---------------------------------------------------------


@pytest.mark.parametrize("batching", ["auto", "off"])
def test_partial_segments_come_in_order_and_are_final(engine, batching):
    listener = Listener()

    heard = transcribe(engine, THREE_CHUNKS, batching=batching, listener=listener)

    assert listener.heard == heard.segments
    assert listener.progress[0] == 0.0
    assert listener.progress == sorted(listener.progress)
    last = heard.segments[-1].end if batching == "off" else heard.duration_seconds
    assert listener.progress[-1] == pytest.approx(last)


@pytest.mark.parametrize("batching", ["auto", "off"])
def test_a_job_that_is_stopped_ends_at_once(engine, threads, generate, batching):
    # The model hangs in a call until the job has ended.
    hangs, may_go_on = threading.Event(), threading.Event()

    def hang(prompts: Any, **keywords: Any) -> None:
        if keywords["length_penalty"] == 0.9:
            hangs.set()
            assert may_go_on.wait(patient(SECONDS))

    generate.append(hang)
    listener = Listener()
    wanted = transcribe(engine, SPANISH).text
    stopped = threads.submit(
        transcribe,
        engine,
        THREE_CHUNKS,
        listener=listener,
        length_penalty=0.9,
        batching=batching,
    )
    assert hangs.wait(patient(SECONDS))
    neighbour = threads.submit(transcribe, engine, SPANISH)

    began = time.monotonic()
    listener.stop()

    assert isinstance(stopped.exception(SECONDS), InterruptedError)
    assert time.monotonic() - began < patient(2)
    assert not may_go_on.is_set()
    may_go_on.set()
    assert neighbour.result(SECONDS).text == wanted
    assert transcribe(engine, SPANISH).text == wanted


def test_a_detection_is_its_jobs_and_ends_with_it(engine, threads, monkeypatch):
    whisper = engine.whisper
    model, calls = whisper._model, []
    may_go_on = threading.Event()

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def encode(self, *arguments: Any, **keywords: Any) -> Any:
            calls.append((whisper.model_call, [c.caller for c in whisper._running]))
            may_go_on.wait(patient(SECONDS))
            return model.encode(*arguments, **keywords)

    monkeypatch.setattr(whisper, "_model", Watched())
    listener = Listener(priority=2)
    detection = threads.submit(engine.detect_language, THREE_CHUNKS, listener)
    wait_for(lambda: calls)

    listener.stop()
    may_go_on.set()

    assert isinstance(detection.exception(SECONDS), InterruptedError)
    ((call, callers),) = calls
    assert call.jobs == {listener}
    assert [caller.priority for caller in callers] == [2]


def test_a_job_whose_listener_raises_leaves_no_work_behind(engine):
    listener = Listener()
    listener.segments = lambda segments: listener.stopped.set()  # type: ignore[method-assign]

    with pytest.raises(InterruptedError):
        transcribe(engine, THREE_CHUNKS, listener=listener)

    assert not any(engine.lanes._jobs.values())
    wait_for(lambda: engine.whisper._at_work.total() == 0)
    assert engine.whisper._waiting == []


def test_a_model_call_that_raises_fails_its_job_only(engine, threads, generate):
    def fail(prompts: Any, **keywords: Any) -> None:
        if keywords["length_penalty"] == 0.8:
            raise RuntimeError("CUDA error")

    generate.append(fail)
    jobs = [
        threads.submit(transcribe, engine, samples, length_penalty=penalty)
        for samples in (ENGLISH, SPANISH)
        for penalty in (1.0, 0.8, 1.0)
    ]

    errors = [job.exception(SECONDS) for job in jobs]

    assert [type(error) for error in errors] == [
        *(type(None), RuntimeError, type(None)),
        *(type(None), RuntimeError, type(None)),
    ]
    assert "Tokyo" in jobs[0].result().text
    assert jobs[3].result().text == jobs[5].result().text
    assert "Tokio" in jobs[3].result().text


def test_an_urgent_job_overtakes_a_long_one(engine, threads, generate):
    order: list[float] = []
    holds, may_go_on = threading.Event(), threading.Event()
    chunks = 2 * engine.batch_size + 1

    def note(prompts: Any, **keywords: Any) -> None:
        order.append(keywords["length_penalty"])
        if not holds.is_set():
            holds.set()
            assert may_go_on.wait(patient(SECONDS))

    generate.append(note)
    long = threads.submit(
        transcribe,
        engine,
        np.concatenate([ENGLISH, pause(7.0)] * chunks),
        listener=Listener(priority=2),
        length_penalty=0.7,
        language="en",
    )
    assert holds.wait(patient(SECONDS))
    urgent = threads.submit(
        transcribe,
        engine,
        ENGLISH,
        listener=Listener(priority=0),
        length_penalty=0.6,
        language="en",
    )
    wait_for(lambda: any(c.caller.priority == 0 for c in engine.whisper._waiting))
    may_go_on.set()

    assert "Tokyo" in urgent.result(SECONDS).text
    assert not long.done()
    assert long.result(SECONDS).text.count("Tokyo") == chunks
    # Right after the call under way.
    assert order.index(0.6) == 1


def test_unloading_frees_the_model():
    slot = parse_slot("cpu=demo", 0, "faster-whisper")
    made: Any = create_engine(slot, model_dir=django_settings.MODEL_DIR, cpu_threads=1)
    made.load()
    transcribe(made, SPANISH)
    kept = weakref.ref(made.model)
    whisper = weakref.ref(made.whisper)

    made.unload()
    made.unload()

    wait_for(lambda: kept() is None)
    wait_for(lambda: whisper() is None)
    with pytest.raises(RuntimeError, match="not loaded"):
        _ = made.model


# --- What is stored while a job runs -------------------------------------------------

Act = Callable[[Any], None]


def heard(number: int) -> Segment:
    return Segment(**segment(number, number, number + 1, f" Part {number}."))


@pytest.fixture
def prepared(monkeypatch, quiet_heart) -> Callable[..., Any]:
    """Make a queued task with samples; its progress is written each time."""
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.0)

    def prepare(samples: Any = None, **values: Any) -> Any:
        task = TaskFactory(queued=True, **values)
        files = TaskFiles(task.public_id)
        files.create()
        files.samples.write_bytes((ENGLISH if samples is None else samples).tobytes())
        return task

    return prepare


def pending_answer(task: Any) -> Any:
    """What a client hears who asks for the result now."""
    client = APIClient()
    secret = ApiKeyFactory(owner=task.owner).secret
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    answer = client.get(f"/api/v1/tasks/{task.public_id}/result/")
    assert answer.status_code in {200, 202}
    return answer


def texts(answer: Any) -> list[str]:
    return [part["text"] for part in answer.json()["segments"]]


@pytest.mark.django_db
def test_partial_segments_can_be_read_while_the_job_runs(prepared):
    task = prepared()
    seen: list[Any] = []

    def act(listener: Any) -> None:
        seen.append(pending_answer(task))
        for number in range(3):
            listener.segments([heard(number)])
            listener(float(number))
            seen.append(pending_answer(task))

    outcome = steps.execute(task.pk, engine=ScriptedEngine(act), owner="slot")

    assert outcome is Outcome.COMPLETED
    assert [answer.status_code for answer in seen] == [202] * 4
    assert [texts(answer) for answer in seen] == [
        [],
        [" Part 0."],
        [" Part 0.", " Part 1."],
        [" Part 0.", " Part 1.", " Part 2."],
    ]
    assert seen[-1].json()["segments"][2] == segment(2, 2, 3, " Part 2.")
    assert not TranscriptPart.objects.exists()
    assert pending_answer(task).status_code == 200


@pytest.mark.django_db
def test_a_second_attempt_replaces_what_the_first_had_heard(prepared):
    task = prepared()
    seen: list[list[str]] = []
    numbers: list[list[int]] = []

    def break_down(listener: Any) -> None:
        for number in range(3):
            listener.segments([heard(number)])
            listener(1.0)
        raise ZeroDivisionError

    def go_on(listener: Any) -> None:
        listener(0.1)
        for number in (7, 8):
            listener.segments([heard(number)])
            listener(1.0)
            seen.append(texts(pending_answer(task)))
        numbers.append([part.number for part in TranscriptPart.objects.all()])

    first = steps.execute(task.pk, engine=ScriptedEngine(break_down), owner="slot")
    waiting = texts(pending_answer(task))
    TranscriptionTask.objects.update(not_before=None)
    second = steps.execute(task.pk, engine=ScriptedEngine(go_on), owner="slot")

    assert (first, second) == (Outcome.RETRIED, Outcome.COMPLETED)
    assert waiting == []
    assert seen == [[" Part 7."], [" Part 7.", " Part 8."]]
    assert numbers == [[0, 1]]
    assert not TranscriptPart.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("noticed", [True, False])
def test_a_worker_without_its_lease_stores_no_segments(prepared, noticed):
    task = prepared()

    def lose(listener: Any) -> None:
        listener.segments([heard(0)])
        listener(0.5)
        TranscriptionTask.objects.update(lease_token=uuid.uuid4())
        if noticed:
            heartbeat.beat()
        listener.segments([heard(1)])
        listener(1.0)
        raise AssertionError("It went on.")

    outcome = steps.execute(task.pk, engine=ScriptedEngine(lose), owner="slot")

    assert outcome is Outcome.LOST
    assert [part.number for part in TranscriptPart.objects.all()] == [0]


@pytest.mark.django_db
@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_task_that_ends_without_a_result_keeps_no_segments(prepared, settings, end):
    settings.MAX_ATTEMPTS = 1
    task = prepared()

    def act(listener: Any) -> None:
        listener.segments([heard(0)])
        listener(0.5)
        if end == "failed":
            raise ZeroDivisionError
        cancelling.cancel(task.pk)
        heartbeat.beat()
        listener(1.0)

    outcome = steps.execute(task.pk, engine=ScriptedEngine(act), owner="slot")

    assert outcome == end
    assert not TranscriptPart.objects.exists()


@pytest.mark.django_db
def test_the_real_engines_segments_are_stored_as_they_come(
    prepared, engine, monkeypatch
):
    task = prepared(THREE_CHUNKS, options={"temperature": [0.0], "beam_size": 1})
    stored: list[list[str]] = []
    record = recording.record_progress

    def record_and_look(*args: Any, **kwargs: Any) -> None:
        record(*args, **kwargs)
        stored.append(texts(pending_answer(task)))

    monkeypatch.setattr(recording, "record_progress", record_and_look)

    outcome = steps.execute(task.pk, engine=engine, owner="slot")

    assert outcome is Outcome.COMPLETED
    final = [part["text"] for part in task.transcript.segments]
    assert stored[-1] == final
    assert [shown == final[: len(shown)] for shown in stored] == [True] * len(stored)
    assert len({len(shown) for shown in stored}) >= 3
    assert not TranscriptPart.objects.exists()
