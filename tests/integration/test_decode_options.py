"""Every decode option has its effect on faster-whisper itself.

The model object inside the engine is wrapped, not replaced: it works, and its calls are
noted, for the options whose effect no text shows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import faster_whisper.transcribe
import numpy as np
import pytest
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.vad import VadOptions

from tests.recordings import RECORDINGS, read_recording, silence
from tools import scripted_model
from tools.demo_model.scoring import error_rate
from transcription.audio import SAMPLE_RATE
from transcription.engines import chunked
from transcription.engines.base import SilentListener, Transcription
from transcription.engines.faster_whisper import FasterWhisperEngine
from transcription.engines.options import DecodeOptions, VadParameters
from transcription.engines.plan import parse_slot
from transcription.engines.speech import Span, plan_chunks

NEVER = {
    "compression_ratio_threshold": None,
    "log_prob_threshold": None,
    "no_speech_threshold": None,
}


class NotedModel:
    """A ctranslate2.models.Whisper whose calls are noted."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name not in ("encode", "generate", "align", "detect_language"):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            return found(*args, **kwargs)

        return call


@dataclass
class Heard:
    """A transcript, and what reached the model on the way to it."""

    transcription: Transcription
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
    tokenizer: Tokenizer
    seconds_done: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.transcription.text

    def named(self, name: str) -> list[dict[str, Any]]:
        """Keyword arguments of each call of a method."""
        return [kwargs for called, _, kwargs in self.calls if called == name]

    @property
    def prompts(self) -> list[str]:
        """What was shown to the decoder, as text, once for each try of a window."""
        decode = self.tokenizer.tokenizer.decode
        return [
            decode(args[1][0], skip_special_tokens=False)
            for called, args, _ in self.calls
            if called == "generate"
        ]

    @property
    def words(self) -> list[str]:
        return [
            word.word
            for segment in self.transcription.segments
            for word in segment.words or []
        ]


class Progress(SilentListener):
    """How far an engine said it was."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds_done: float) -> None:
        self.seconds.append(seconds_done)


class Listener:
    """An engine whose model is noted."""

    def __init__(self, model: str, folder: Path) -> None:
        slot = parse_slot(f"cpu={model}", 0, "faster-whisper")
        self.engine = FasterWhisperEngine(slot, model_dir=folder, cpu_threads=1)
        self.engine.load()
        self.noted = NotedModel(self.engine.model.model)
        self.engine.model.model = self.noted

    def __call__(self, samples: Any, **options: Any) -> Heard:
        """Transcribe greedily, unless other options are given."""
        # A search would take several times as long, and tell no more.
        options = {"beam_size": 1, "temperature": (0.0,), "language": "en", **options}
        self.noted.calls = []
        done = Progress()
        transcription = self.engine.transcribe(samples, DecodeOptions(**options), done)
        model = self.engine.model
        tokenizer = Tokenizer(
            model.hf_tokenizer, True, task="transcribe", language="en"
        )
        return Heard(transcription, self.noted.calls, tokenizer, done.seconds)


@pytest.fixture(scope="module")
def listen(tmp_path_factory) -> Listener:
    return Listener("demo", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def english() -> Any:
    return read_recording("en")


# --- What is to be done ---------------------------------------------------------------


@pytest.mark.parametrize(("task", "into"), [("transcribe", "es"), ("translate", "en")])
def test_the_task(listen, task, into):
    heard = listen(read_recording("es"), task=task, language="es")

    assert f"<|{task}|>" in heard.prompts[0]
    assert error_rate(RECORDINGS["es"].texts[into], heard.text, into) <= 0.25


def test_a_given_language_is_not_detected(listen):
    heard = listen(read_recording("es"), language="es")

    assert heard.transcription.language == "es"
    assert heard.transcription.language_probabilities == {}
    assert heard.named("detect_language") == []
    assert "<|es|>" in heard.prompts[0]


def test_a_given_language_overrules_what_is_spoken(listen):
    heard = listen(read_recording("es"), language="en")

    assert heard.transcription.language == "en"
    assert "<|en|>" in heard.prompts[0]


@pytest.mark.parametrize("language", sorted(RECORDINGS))
def test_a_language_that_is_not_given_is_detected(listen, language):
    heard = listen(read_recording(language), language="")

    assert heard.transcription.language == language
    assert heard.transcription.language_probability > 0.5
    assert heard.transcription.language_probabilities[language] > 0.5
    assert f"<|{language}|>" in heard.prompts[0]


# --- How a window is decoded ----------------------------------------------------------


def test_one_temperature(listen, english):
    heard = listen(english, temperature=(0.5,))

    assert {call["sampling_temperature"] for call in heard.named("generate")} == {0.5}
    assert {segment.temperature for segment in heard.transcription.segments} == {0.5}


def test_several_temperatures_are_tried_in_turn(listen, english):
    heard = listen(
        english, temperature=(0.0, 0.3, 0.7), **NEVER | {"log_prob_threshold": 0.0}
    )

    tried = [call.get("sampling_temperature", 0.0) for call in heard.named("generate")]
    assert tried[:3] == [0.0, 0.3, 0.7]


def test_no_other_temperature_is_tried_after_a_good_one(listen, english):
    heard = listen(english, temperature=(0.0, 0.3), **NEVER)

    assert len(heard.named("generate")) == 1


def test_beam_size_and_patience_hold_at_temperature_0(listen, english):
    heard = listen(english, beam_size=3, patience=1.5)

    (call,) = heard.named("generate")
    assert (call["beam_size"], call["patience"]) == (3, 1.5)
    assert "num_hypotheses" not in call


def test_best_of_holds_above_temperature_0(listen, english):
    heard = listen(english, best_of=2, beam_size=4, temperature=(0.4,), **NEVER)

    (call,) = heard.named("generate")
    assert (call["num_hypotheses"], call["beam_size"]) == (2, 1)


def test_length_penalty(listen, english):
    heard = listen(english, length_penalty=0.3)

    assert {call["length_penalty"] for call in heard.named("generate")} == {0.3}


@pytest.mark.parametrize(
    ("name", "strict"),
    [("compression_ratio_threshold", 0.1), ("log_prob_threshold", 0.0)],
)
def test_a_threshold_that_is_not_met_leads_to_another_try(
    listen, english, name, strict
):
    temperature = (0.0, 0.2)

    strictly = listen(english, temperature=temperature, **NEVER | {name: strict})
    never = listen(english, temperature=temperature, **NEVER)

    # Each window twice; a sampled text may make one window more.
    assert len(strictly.named("generate")) >= 2
    assert len(never.named("generate")) == 1


@pytest.mark.parametrize(
    ("threshold", "hears"), [(0.0, False), (None, True), (1.0, True)]
)
def test_a_window_above_no_speech_threshold_is_dropped(
    listen, english, threshold, hears
):
    heard = listen(english, **NEVER | {"no_speech_threshold": threshold})

    assert bool(heard.text) is hears


def test_a_probable_window_is_kept_whatever_no_speech_threshold_says(listen, english):
    thresholds = {"no_speech_threshold": 0.0, "log_prob_threshold": -5.0}

    assert listen(english, **NEVER | thresholds).text


# --- What the decoder is shown --------------------------------------------------------


def test_the_text_before_is_shown_if_wanted(listen, english):
    long = np.concatenate([english] * 4)

    without = listen(long, condition_on_previous_text=False, vad_filter=False)
    shown = listen(long, condition_on_previous_text=True, vad_filter=False)

    assert len(shown.prompts) > 1
    assert not any("<|startofprev|>" in prompt for prompt in without.prompts)
    assert "<|startofprev|>" not in shown.prompts[0]
    assert "Thursday in Tokyo" in shown.prompts[-1]


def test_the_initial_prompt_is_shown_first(listen, english):
    long = np.concatenate([english] * 4)

    heard = listen(
        long, initial_prompt="Peter, Lucas", vad_filter=False, batching="off"
    )

    assert heard.prompts[0].startswith("<|startofprev|> Peter, Lucas<|")
    assert not any("Peter, Lucas" in prompt for prompt in heard.prompts[1:])


def test_the_initial_prompt_is_shown_first_in_every_chunk(listen, english):
    long = np.concatenate([english] * 4)

    heard = listen(long, initial_prompt="Peter, Lucas", vad_filter=False)

    shown = [prompt for prompt in heard.prompts if "Peter, Lucas" in prompt]
    assert len(shown) == 2
    assert all(prompt.startswith("<|startofprev|> Peter, Lucas<|") for prompt in shown)


def test_hotwords_are_shown_to_every_window(listen, english):
    long = np.concatenate([english] * 4)

    heard = listen(long, hotwords="Tokyo Berlin", vad_filter=False)

    assert len(heard.prompts) > 1
    assert all("<|startofprev|> Tokyo Berlin<|" in prompt for prompt in heard.prompts)


def test_hotwords_come_before_the_text_before(listen, english):
    heard = listen(english, hotwords="Tokyo", initial_prompt="Peter")

    assert heard.prompts[0].startswith("<|startofprev|> Tokyo Peter<|")


@pytest.mark.parametrize(
    "texts",
    [
        {"initial_prompt": "a " * 1000},
        {"hotwords": "b " * 1000},
        {"initial_prompt": "a " * 1000, "hotwords": "b " * 1000},
        {"initial_prompt": "鿿" * 2000, "hotwords": "Tokyo"},
    ],
    ids=["prompt", "hotwords", "both", "rare characters"],
)
def test_the_longest_texts_leave_room_for_the_transcript(listen, english, texts):
    heard = listen(english, **texts)

    prompts = [args[1][0] for name, args, _ in heard.calls if name == "generate"]
    assert max(map(len, prompts)) <= 448 // 2 + 3


# --- Words ----------------------------------------------------------------------------


def test_words_are_timed_if_wanted(listen, english):
    heard = listen(english, word_timestamps=True)

    assert "".join(heard.words).strip() == heard.text
    assert len(heard.named("align")) == 1
    times = [w for s in heard.transcription.segments for w in s.words]
    assert all(0 <= w.start <= w.end <= 10.5 for w in times)


def test_words_are_not_timed_otherwise(listen, english):
    heard = listen(english)

    assert all(segment.words is None for segment in heard.transcription.segments)
    assert heard.named("align") == []


def test_appended_punctuation_belongs_to_the_word_before(listen, english):
    usual = listen(english, word_timestamps=True)
    without = listen(english, word_timestamps=True, append_punctuations="")

    assert " Tokyo." in usual.words
    assert without.words[6:8] == [" Tokyo", "."]


def test_prepended_punctuation_belongs_to_the_word_after(listen, english):
    # A word in place of punctuation, which the recording has none of.
    heard = listen(english, word_timestamps=True, prepend_punctuations="is")

    assert " is learning" in heard.words


def test_doubtful_text_around_silence_is_dropped(tmp_path):
    # Its words have impossible times, which is what counts as doubtful.
    scripted_model.build(tmp_path / "nano", "nano")
    listen = Listener(str(tmp_path / "nano"), tmp_path)
    options = {"word_timestamps": True, "vad_filter": False}

    kept = listen(silence(20), **options)
    dropped = listen(silence(20), hallucination_silence_threshold=0.5, **options)

    assert len(dropped.text) < len(kept.text)


# --- What is listened to --------------------------------------------------------------


@pytest.mark.parametrize(
    ("clips", "cities", "windows"),
    [
        ((0.0, 2.6), {"Tokyo"}, 1),
        ((5.2,), {"Berlin"}, 1),
        ((0.0, 2.6, 5.2, 7.7), {"Tokyo", "Berlin"}, 2),
        ((2.6, 5.2), set(), 1),
        ((), {"Tokyo", "Berlin"}, 1),
        ((60.0,), set(), 0),
    ],
    ids=str,
)
def test_only_the_clips_are_heard(listen, english, clips, cities, windows):
    heard = listen(english, clip_timestamps=clips)

    assert {city for city in ("Tokyo", "Berlin") if city in heard.text} == cities
    assert len(heard.prompts) == windows
    for segment in heard.transcription.segments:
        assert not clips or segment.start >= clips[0]


def test_the_language_is_detected_where_the_first_clip_begins(listen, english):
    both = np.concatenate([english, read_recording("zh")])

    heard = listen(both, language="", clip_timestamps=(10.5,))

    assert heard.transcription.language == "zh"


@pytest.fixture(scope="module")
def with_pause(english) -> Any:
    return np.concatenate([silence(3), english[: 5 * SAMPLE_RATE], silence(3)])


def test_silence_is_cut_out_unless_unwanted(listen, with_pause):
    cut = listen(with_pause, vad_filter=True).transcription
    whole = listen(with_pause, vad_filter=False).transcription

    assert cut.duration_seconds == whole.duration_seconds == 11.0
    assert cut.duration_after_vad_seconds < 6.5
    assert whole.duration_after_vad_seconds == 11.0
    # Times are those of the recording, not of what was left of it.
    assert cut.segments[0].start == pytest.approx(3.47, abs=0.3)


@pytest.fixture
def speech_of(listen, with_pause, monkeypatch):
    """The stretches that faster-whisper's own detection finds, as (start, end)."""
    found: list[list[dict[str, int]]] = []
    detect = faster_whisper.transcribe.get_speech_timestamps

    def note(*args: Any) -> Any:
        found.append(detect(*args))
        return found[-1]

    monkeypatch.setattr(faster_whisper.transcribe, "get_speech_timestamps", note)

    def find(**parameters: Any) -> list[tuple[float, float]]:
        vad_parameters = VadParameters(**parameters)
        listen(with_pause, vad_parameters=vad_parameters, batching="off")
        return [
            (part["start"] / SAMPLE_RATE, part["end"] / SAMPLE_RATE)
            for part in found[-1]
        ]

    return find


def seconds_in(stretches: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in stretches)


def test_vad_threshold(speech_of):
    assert seconds_in(speech_of(threshold=0.98)) < seconds_in(speech_of(threshold=0.05))


def test_vad_neg_threshold(speech_of):
    few = {"min_silence_duration_ms": 100, "speech_pad_ms": 0}

    low, high = (speech_of(neg_threshold=x, **few) for x in (0.001, 0.45))

    assert seconds_in(low) > seconds_in(high)


def test_vad_min_speech_duration_ms(speech_of):
    assert speech_of(min_speech_duration_ms=60_000) == []
    assert speech_of(min_speech_duration_ms=0) != []


def test_vad_max_speech_duration_s(speech_of):
    few = {"min_silence_duration_ms": 100, "speech_pad_ms": 0}

    short = speech_of(max_speech_duration_s=1.0, **few)
    endless = speech_of(max_speech_duration_s=None, **few)

    assert max(end - start for start, end in short) <= 1.1
    assert max(end - start for start, end in endless) > 1.5


def test_vad_min_silence_duration_ms(speech_of):
    patient = speech_of(min_silence_duration_ms=2000, speech_pad_ms=0)
    impatient = speech_of(min_silence_duration_ms=200, speech_pad_ms=0)

    assert len(patient) == 1
    assert len(impatient) > 1


def test_vad_speech_pad_ms(speech_of):
    ((start, end),) = speech_of(speech_pad_ms=0)
    ((earlier, later),) = speech_of(speech_pad_ms=300)

    assert start - earlier == pytest.approx(0.3, abs=0.01)
    assert later - end == pytest.approx(0.3, abs=0.01)


@pytest.fixture
def planned(listen, with_pause, monkeypatch):
    """The chunks of the usual path, as (start, end) seconds, and seconds of speech."""
    plans: list[tuple[list[Span], float]] = []

    def note(*args: Any, **kwargs: Any) -> Any:
        plans.append(plan_chunks(*args, **kwargs))
        return plans[-1]

    monkeypatch.setattr(chunked, "plan_chunks", note)

    def plan(**parameters: Any) -> tuple[list[tuple[float, float]], float]:
        listen(with_pause, vad_parameters=VadParameters(**parameters))
        chunks, speech_seconds = plans[-1]
        return [
            (chunk.start / SAMPLE_RATE, chunk.end / SAMPLE_RATE) for chunk in chunks
        ], speech_seconds

    return plan


def test_chunks_vad_threshold(planned):
    assert planned(threshold=0.98)[1] < planned(threshold=0.05)[1]


def test_chunks_vad_neg_threshold(planned):
    few = {"min_silence_duration_ms": 100, "speech_pad_ms": 0}

    low, high = (planned(neg_threshold=x, **few)[1] for x in (0.001, 0.45))

    assert low > high


def test_chunks_vad_min_speech_duration_ms(planned):
    assert planned(min_speech_duration_ms=60_000) == ([], 0.0)
    assert planned(min_speech_duration_ms=0)[0] != []


def test_chunks_vad_max_speech_duration_s(planned):
    few = {"min_silence_duration_ms": 100, "speech_pad_ms": 0}

    short, _ = planned(max_speech_duration_s=1.0, **few)
    endless, _ = planned(max_speech_duration_s=None, **few)

    assert max(end - start for start, end in short) <= 1.1
    assert max(end - start for start, end in endless) > 1.5


def test_chunks_vad_min_silence_duration_ms(planned):
    _, patient = planned(min_silence_duration_ms=2000, speech_pad_ms=0)
    _, impatient = planned(min_silence_duration_ms=200, speech_pad_ms=0)

    assert impatient < patient


def test_chunks_vad_speech_pad_ms(planned):
    (((start, end),), _) = planned(speech_pad_ms=0)
    (((earlier, later),), _) = planned(speech_pad_ms=300)

    assert start - earlier == pytest.approx(0.3, abs=0.01)
    assert later - end == pytest.approx(0.3, abs=0.01)


# --- All of them ----------------------------------------------------------------------


@pytest.fixture
def sent(listen, monkeypatch) -> list[Any]:
    """What faster-whisper made of its arguments: options and VAD options."""
    infos: list[Any] = []
    transcribe = listen.engine.model.transcribe

    def note(*args: Any, **kwargs: Any) -> Any:
        segments, info = transcribe(*args, **kwargs)
        infos.append(info)
        return segments, info

    monkeypatch.setattr(listen.engine.model, "transcribe", note, raising=False)
    return infos


def test_every_default_reaches_the_engine(listen, sent):
    options = DecodeOptions()

    in_order = dataclasses.replace(options, batching="off")
    listen.engine.transcribe(silence(1), in_order, SilentListener())

    (info,) = sent
    got = info.transcription_options
    assert got.temperatures == list(options.temperature)
    assert got.clip_timestamps in ("0", [0.0])
    assert (got.initial_prompt, got.hotwords) == (None, None)
    same = {item.name for item in fields(DecodeOptions)} - {
        "task",
        "language",
        "temperature",
        "clip_timestamps",
        "initial_prompt",
        "hotwords",
        "vad_filter",
        "vad_parameters",
        "batching",
    }
    assert len(same) == 12
    for name in same:
        assert getattr(got, name) == getattr(options, name), name
    assert (
        asdict(info.vad_options).items()
        >= {
            **asdict(options.vad_parameters),
            "max_speech_duration_s": float("inf"),
        }.items()
    )


def test_what_we_have_no_option_for_stays_as_whisper_has_it(listen, sent):
    listen(silence(1), batching="off")

    got = sent[0].transcription_options
    assert (got.without_timestamps, got.suppress_blank) == (False, True)
    assert (got.repetition_penalty, got.no_repeat_ngram_size) == (1, 0)
    assert (got.prefix, got.multilingual, got.max_new_tokens) == (None, False, None)


def test_both_paths_give_the_library_the_same_options(
    listen, sent, english, monkeypatch
):
    given: list[Any] = []
    generate = listen.engine.model.generate_segments

    def note(*args: Any) -> Any:
        given.append(dataclasses.replace(args[2], clip_timestamps=[]))
        return generate(*args)

    monkeypatch.setattr(listen.engine.model, "generate_segments", note, raising=False)

    listen(english, batching="auto", hotwords="Tokyo", patience=1.5)
    listen(english, batching="off", hotwords="Tokyo", patience=1.5)

    chunks, in_order = given
    assert chunks == in_order


def test_vad_parameters_are_members_of_faster_whispers():
    theirs = {item.name for item in fields(VadOptions)}

    assert {item.name for item in fields(VadParameters)} <= theirs


def test_the_options_used_are_in_the_result(listen, english):
    heard = listen(english, patience=1.5, vad_parameters=VadParameters(threshold=0.4))

    used = heard.transcription.options
    assert DecodeOptions.from_dict(used).patience == 1.5
    assert used["vad_parameters"]["threshold"] == 0.4


def test_progress_rises_to_the_end_of_the_speech(listen, english):
    heard = listen(english)

    assert heard.seconds_done[0] == 0.0
    assert heard.seconds_done == sorted(heard.seconds_done)
    assert heard.seconds_done[-1] > 8.5


@pytest.mark.parametrize("vad_filter", [True, False])
def test_silence_is_an_empty_transcript(listen, vad_filter):
    heard = listen(silence(5), language="", vad_filter=vad_filter)

    assert heard.text == ""
    assert heard.transcription.duration_seconds == 5.0
