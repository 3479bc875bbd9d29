"""Every decode option has its effect on faster-whisper itself.

The model object inside the engine is wrapped, not replaced: it works, and its calls are
noted, for the options whose effect no text shows. Where the options allow it, a job is
decoded in chunks (`auto`), else window after window (`off`): both honour them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import faster_whisper.transcribe
import numpy as np
import pytest
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.vad import VadOptions

from tests.support.recordings import RECORDINGS, read_recording, silence
from tools import scripted_model
from transcription.accuracy import word_error_rate
from transcription.audio import SAMPLE_RATE
from transcription.engines import speech
from transcription.engines.base import SilentListener, Transcription
from transcription.engines.faster_whisper import FasterWhisperEngine
from transcription.engines.options import DecodeOptions, VadParameters
from transcription.engines.plan import parse_slot
from transcription.engines.speech import Span

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
            decode(prompt, skip_special_tokens=False) for prompt in self.prompt_tokens
        ]

    @property
    def prompt_tokens(self) -> list[list[int]]:
        return [
            prompt
            for called, args, _ in self.calls
            if called == "generate"
            for prompt in args[1]
        ]

    @property
    def words(self) -> list[str]:
        return [
            word.word
            for segment in self.transcription.segments
            for word in segment.words or []
        ]


class ProgressListener(SilentListener):
    """A job that notes its progress."""

    def __init__(self) -> None:
        self.done: list[float] = []

    def __call__(self, seconds_done: float) -> None:
        self.done.append(seconds_done)


class Listener:
    """An engine whose model is noted."""

    def __init__(self, model: str, folder: Path) -> None:
        slot = parse_slot(f"cpu={model}", 0, "faster-whisper")
        self.engine = FasterWhisperEngine(slot, model_dir=folder, cpu_threads=1)
        self.engine.load()
        self.noted = NotedModel(self.engine.whisper._model)
        self.engine.whisper._model = self.noted
        self.batching = "auto"

    def __call__(self, samples: Any, **options: Any) -> Heard:
        """Transcribe greedily, unless other options are given."""
        # A search would take several times as long, and tell no more.
        greedy: dict[str, Any] = {
            "beam_size": 1,
            "temperature": (0.0,),
            "language": "en",
            "batching": self.batching,
        }
        self.noted.calls = []
        listener = ProgressListener()
        transcription = self.engine.transcribe(
            samples, DecodeOptions(**greedy | options), listener
        )
        model = self.engine.model
        tokenizer = Tokenizer(
            model.hf_tokenizer, True, task="transcribe", language="en"
        )
        return Heard(transcription, self.noted.calls, tokenizer, listener.done)


@pytest.fixture(scope="module")
def demo_listener(tmp_path_factory) -> Iterator[Listener]:
    listener = Listener("demo", tmp_path_factory.mktemp("models"))
    yield listener
    listener.engine.unload()


@pytest.fixture(params=["auto", "off"])
def listen(demo_listener, request) -> Any:
    """Both ways through the engine."""
    demo_listener.batching = request.param
    return demo_listener


@pytest.fixture
def listen_in_order(demo_listener) -> Any:
    """The way of options that make a window depend on the one before it."""
    demo_listener.batching = "off"
    return demo_listener


@pytest.fixture(scope="module")
def english() -> Any:
    return read_recording("en")


# --- What is to be done ---------------------------------------------------------------


@pytest.mark.parametrize(("task", "into"), [("transcribe", "es"), ("translate", "en")])
def test_the_task(listen, task, into):
    heard = listen(read_recording("es"), task=task, language="es")

    assert f"<|{task}|>" in heard.prompts[0]
    assert (
        word_error_rate(RECORDINGS["es"].texts[into], heard.text, language=into) <= 0.25
    )


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


def test_the_text_before_is_shown_if_wanted(listen_in_order, english):
    long = np.concatenate([english] * 4)

    without = listen_in_order(long, condition_on_previous_text=False, vad_filter=False)
    shown = listen_in_order(long, condition_on_previous_text=True, vad_filter=False)

    assert len(shown.prompts) > 1
    assert not any("<|startofprev|>" in prompt for prompt in without.prompts)
    assert "<|startofprev|>" not in shown.prompts[0]
    assert "Thursday in Tokyo" in shown.prompts[-1]


def test_the_initial_prompt_is_shown_first(listen, english):
    long = np.concatenate([english] * 4)

    heard = listen(long, initial_prompt="Peter, Lucas", vad_filter=False)

    assert heard.prompts[0].startswith("<|startofprev|> Peter, Lucas<|")
    # A chunk knows nothing of those before it: each is a first one.
    again = ["Peter, Lucas" in prompt for prompt in heard.prompts[1:]]
    assert again
    assert set(again) == {listen.batching == "auto"}


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

    assert max(map(len, heard.prompt_tokens)) <= 448 // 2 + 3


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
    scripted_model.build(tmp_path / "nano", "nano", quantization="int8")
    listen = Listener(str(tmp_path / "nano"), tmp_path)
    options = {"word_timestamps": True, "vad_filter": False}

    kept = listen(silence(20), batching="off", **options)
    dropped = listen(silence(20), hallucination_silence_threshold=0.5, **options)

    assert len(dropped.text) < len(kept.text)
    listen.engine.unload()


# --- What is listened to --------------------------------------------------------------


@pytest.mark.parametrize(
    ("clips", "cities", "windows"),
    [
        ((0.0, 2.6), ["Tokyo"], 1),
        ((5.2,), ["Berlin"], 1),
        ((0.0, 2.6, 5.2, 7.7), ["Tokyo", "Berlin"], 2),
        ((2.6, 5.2), [], 1),
        ((), ["Tokyo", "Berlin"], 1),
        ((60.0,), [], 0),
    ],
    ids=str,
)
def test_only_the_clips_are_heard(listen_in_order, english, clips, cities, windows):
    heard = listen_in_order(english, clip_timestamps=clips)

    assert [city for city in ("Tokyo", "Berlin") if city in heard.text] == cities
    assert len(heard.prompts) == windows
    for segment in heard.transcription.segments:
        assert not clips or segment.start >= clips[0]


def test_the_language_is_detected_where_the_first_clip_begins(listen_in_order, english):
    both = np.concatenate([english, read_recording("zh")])

    heard = listen_in_order(both, language="", clip_timestamps=(10.5,))

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
    """The stretches that voice activity detection finds, as (start, end) seconds."""
    found: list[list[tuple[int, int]]] = []
    library, ours = faster_whisper.transcribe.get_speech_timestamps, speech.speech_spans

    def note_library(*args: Any) -> Any:
        stretches = library(*args)
        found.append([(part["start"], part["end"]) for part in stretches])
        return stretches

    def note_ours(*args: Any) -> Any:
        stretches = ours(*args)
        found.append([(span.start, span.end) for span in stretches])
        return stretches

    monkeypatch.setattr(
        faster_whisper.transcribe, "get_speech_timestamps", note_library
    )
    monkeypatch.setattr(speech, "speech_spans", note_ours)

    def find(**parameters: Any) -> list[tuple[float, float]]:
        listen(with_pause, vad_parameters=VadParameters(**parameters))
        return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in found[-1]]

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


def test_vad_max_speech_duration_s(listen, english, speech_of):
    if listen.batching == "auto":
        # Chunks are cut for it only where one would be longer.
        probabilities = speech.speech_probabilities(english)
        limited = VadParameters(max_speech_duration_s=1.0)
        pieces = speech._cut(Span(0, len(english)), [], probabilities, limited)
        assert max(piece.seconds for piece in pieces) <= 1.1
        return
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


# --- All of them ----------------------------------------------------------------------


@pytest.fixture
def sent(listen, monkeypatch) -> list[Any]:
    """The options that reached faster-whisper's loop over windows."""
    options: list[Any] = []
    generate = listen.engine.model.generate_segments

    def note(*args: Any, **kwargs: Any) -> Any:
        # It writes into them.
        options.append(replace(args[2]))
        return generate(*args, **kwargs)

    monkeypatch.setattr(listen.engine.model, "generate_segments", note)
    return options


def test_every_default_reaches_the_engine(listen, english, sent):
    options = DecodeOptions(batching=listen.batching)

    listen.engine.transcribe(english, options, SilentListener())

    (got,) = sent
    assert got.temperatures == list(options.temperature)
    assert got.clip_timestamps in ("0", [])
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
        # Decided before an engine gets the samples.
        "audio_track",
    }
    assert len(same) == 13
    for name in same:
        assert getattr(got, name) == getattr(options, name), name


def test_what_we_have_no_option_for_stays_as_whisper_has_it(listen, english, sent):
    listen(english)

    (got,) = sent
    assert (got.without_timestamps, got.suppress_blank) == (False, True)
    assert (got.repetition_penalty, got.no_repeat_ngram_size) == (1, 0)
    assert (got.prefix, got.multilingual, got.max_new_tokens) == (None, False, None)
    assert (got.max_initial_timestamp, got.prompt_reset_on_temperature) == (1.0, 0.5)


def test_every_vad_parameter_reaches_the_library(listen_in_order, monkeypatch):
    got: list[Any] = []
    detect = faster_whisper.transcribe.get_speech_timestamps

    def note(audio: Any, options: Any) -> Any:
        got.append(options)
        return detect(audio, options)

    monkeypatch.setattr(faster_whisper.transcribe, "get_speech_timestamps", note)
    given = VadParameters(0.4, 0.2, 100, 20.0, 1500, 200)

    listen_in_order(silence(1), vad_parameters=given)
    listen_in_order(silence(1))

    assert asdict(got[0]).items() >= asdict(given).items()
    default = asdict(VadParameters()) | {"max_speech_duration_s": float("inf")}
    assert asdict(got[1]).items() >= default.items()


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
