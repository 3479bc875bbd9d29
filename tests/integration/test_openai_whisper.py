"""The engine openai-whisper with the demo model, beside faster-whisper."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transcription.audio import SAMPLE_RATE
from transcription.engines import demo_model
from transcription.engines.base import Engine, SilentListener, Transcription
from transcription.engines.languages import LANGUAGE_CODES
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import parse_slot
from transcription.engines.registry import create_engine
from transcription.errors import (
    EngineError,
    ModelUnavailableError,
    TaskCancelledError,
)
from transcription.samples import Samples

torch = pytest.importorskip("torch")
whisper = pytest.importorskip("whisper")

from transcription.engines import openai_library  # noqa: E402

LANGUAGES = ["en", "es", "zh"]
# The fastest way through: what a test is not about.
PLAIN = DecodeOptions(language="en", beam_size=1, temperature=(0.0,))
# A job that nobody stops or watches.
ignore = SilentListener()


def build(model: str, engine: str, model_dir: Path) -> Any:
    slot = parse_slot(f"cpu={model}", 0, engine)
    return create_engine(slot, model_dir=model_dir, cpu_threads=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = build("demo", "openai-whisper", tmp_path_factory.mktemp("models"))
    engine.load()
    return engine


@pytest.fixture(scope="module")
def faster(tmp_path_factory):
    # In the other engine's arithmetic: 8-bit rounding differs between processors, and
    # may turn a close choice of words.
    model_dir = tmp_path_factory.mktemp("models")
    engine = build("demo/float32", "faster-whisper", model_dir)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def samples() -> dict[str, Samples]:
    return {sample.language: read(sample.path) for sample in demo_model.samples()}


@pytest.fixture(scope="module")
def plain_result(engine, samples) -> Transcription:
    heard: Transcription = engine.transcribe(samples["en"], PLAIN, ignore)
    return heard


def read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def called_from(function: str) -> bool:
    frame = sys._getframe().f_back
    while frame and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


def hooks_of(model: Any) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.modules()
    )


class Recorder:
    """Stands in for `whisper.transcribe` or `decode` and keeps what it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return self.answer(*args, **kwargs)


@pytest.fixture
def decodings(monkeypatch) -> Recorder:
    """What each window is decoded with."""
    recorder = Recorder(whisper.model.Whisper.decode)
    monkeypatch.setattr(
        whisper.model.Whisper,
        "decode",
        lambda model, mel, options: recorder(model, mel, options),
    )
    return recorder


def test_info_names_the_demo_model(engine):
    info = engine.info

    assert info.as_dict() == {
        "name": "demo",
        "revision": demo_model.revision(),
        "engine": "openai-whisper",
        "device": "cpu",
        "compute_type": "float32",
    }
    assert info.notice == demo_model.NOTICE
    assert engine.concurrent_jobs == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_language_and_form_are_those_of_faster_whisper(
    engine, faster, samples, language
):
    options = DecodeOptions(temperature=(0.0,), word_timestamps=True, vad_filter=False)

    ours = engine.transcribe(samples[language], options, ignore)
    theirs = faster.transcribe(samples[language], options, ignore)

    assert ours.text == theirs.text
    assert [s.text for s in ours.segments] == [s.text for s in theirs.segments]
    assert [s.id for s in ours.segments] == list(range(len(ours.segments)))
    assert [s.seek for s in ours.segments] == [s.seek for s in theirs.segments]
    assert ours.language == language
    assert ours.language_probability == pytest.approx(
        theirs.language_probability, abs=0.01
    )
    assert set(ours.language_probabilities) == set(theirs.language_probabilities)
    assert next(iter(ours.language_probabilities)) == language
    assert ours.duration_seconds == theirs.duration_seconds
    assert ours.duration_after_vad_seconds == theirs.duration_after_vad_seconds
    for mine, other in zip(ours.segments, theirs.segments, strict=True):
        assert mine.avg_logprob == pytest.approx(other.avg_logprob, abs=0.05)
        assert mine.compression_ratio == pytest.approx(other.compression_ratio)
        assert [w.word for w in mine.words or []] == [w.word for w in other.words or []]


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_follow_each_other_inside_the_recording(engine, samples, language):
    options = DecodeOptions(language=language, word_timestamps=True, beam_size=1)

    heard = engine.transcribe(samples[language], options, ignore)
    words = [word for segment in heard.segments for word in segment.words or []]

    assert "".join(word.word for word in words).strip() == heard.text
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= heard.duration_seconds + 0.1
    assert all(0 < word.probability <= 1 for word in words)
    assert {type(word.start) for word in words} == {float}


@pytest.mark.parametrize("word_timestamps", [False, True])
def test_translation_is_that_of_faster_whisper(
    engine, faster, samples, word_timestamps
):
    options = DecodeOptions(
        task="translate",
        language="es",
        vad_filter=False,
        word_timestamps=word_timestamps,
    )

    ours = engine.transcribe(samples["es"], options, ignore)

    assert ours.text == faster.transcribe(samples["es"], options, ignore).text
    assert ours.text.startswith("We will meet on Thursday")


def test_stored_options_say_that_nothing_was_cut_out(plain_result):
    assert DecodeOptions.from_dict(plain_result.options) == DecodeOptions(
        **{**vars(PLAIN), "vad_filter": False}
    )


def test_a_given_language_is_not_detected(plain_result):
    assert plain_result.language == "en"
    assert plain_result.language_probability == 1.0
    assert plain_result.language_probabilities == {}


def test_the_model_tells_which_languages_it_knows(engine, faster):
    assert set(engine.info.languages) == set(faster.info.languages)
    assert set(LANGUAGE_CODES) - set(engine.info.languages) == {"yue"}


def test_a_model_of_english_alone_says_so(engine, monkeypatch):
    monkeypatch.setattr(engine.model.dims, "n_vocab", 51_864)

    assert openai_library.known_languages(engine.model) == ("en",)


def test_language_is_heard_after_a_long_silence(engine, samples):
    silence = np.zeros(30 * SAMPLE_RATE, np.int16)
    options = DecodeOptions(beam_size=1, temperature=(0.0,))

    heard = engine.transcribe(np.concatenate([silence, samples["es"]]), options, ignore)

    assert heard.language == "es"
    assert heard.segments[0].start > 30


@pytest.mark.parametrize("language", LANGUAGES)
def test_detected_languages_are_those_of_faster_whisper(
    engine, faster, samples, language
):
    ours = engine.detect_language(samples[language], ignore)
    theirs = faster.detect_language(samples[language], ignore)

    assert ours.language == theirs.language == language
    assert ours.probability == pytest.approx(theirs.probability, abs=0.01)
    assert ours.probabilities.keys() == theirs.probabilities.keys()


def test_detection_averages_windows_spread_over_the_recording(engine, samples):
    half_minutes = [np.tile(samples[name], 3)[: 30 * SAMPLE_RATE] for name in LANGUAGES]

    detected = engine.detect_language(np.concatenate(half_minutes), ignore, windows=3)

    for name in LANGUAGES:
        assert detected.probabilities[name] == pytest.approx(1 / 3, abs=0.02)


def test_progress_rises_to_the_end_through_silent_windows(engine, samples):
    recording = np.zeros(72 * SAMPLE_RATE, np.int16)
    for second in (0, 60):
        start = second * SAMPLE_RATE
        recording[start : start + len(samples["en"])] = samples["en"]
    told: list[float] = []

    heard = engine.transcribe(recording, PLAIN, told.append)

    assert told == sorted(told)
    assert told[0] == 0.0
    assert told[-1] == heard.duration_seconds == len(recording) / SAMPLE_RATE
    assert {0.0, 30.0, 60.0} <= set(told)
    assert (heard.segments[0].seek, heard.segments[-1].seek) == (0, 6000)
    assert heard.segments[-1].end > 68


def test_nothing_ends_after_its_clip_or_the_recording(engine, monkeypatch):
    part = {
        "text": " a",
        "tokens": [1],
        "temperature": 0.0,
        "avg_logprob": -0.1,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }
    # Seek, and the times of segment and word.
    said = [(0, 0.0, 6.0, 0.5, 7.0), (500, 5.0, 30.0, 4.0, 29.0)]
    segments = [
        {
            **part,
            "seek": seek,
            "start": start,
            "end": end,
            "words": [{"word": " a", "start": first, "end": last, "probability": 0.5}],
        }
        for seek, start, end, first, last in said
    ]
    monkeypatch.setattr(
        openai_library, "transcribe", lambda *_, **__: {"segments": segments}
    )
    options = replace(PLAIN, clip_timestamps=(0.0, 5.0, 5.0), word_timestamps=True)

    heard = engine.transcribe(np.zeros(9 * SAMPLE_RATE, np.int16), options, ignore)

    assert [(s.start, s.end) for s in heard.segments] == [(0.0, 5.0), (5.0, 9.0)]
    words = [word for segment in heard.segments for word in segment.words]
    assert [(word.start, word.end) for word in words] == [(0.5, 5.0), (5.0, 9.0)]


def test_silence_has_no_segments(engine):
    silence = np.zeros(5 * SAMPLE_RATE, np.int16)

    heard = engine.transcribe(silence, PLAIN, ignore)

    assert (heard.text, heard.segments) == ("", [])


@pytest.mark.parametrize("n_samples", [0, 1, 160, 400])
def test_a_recording_of_nearly_nothing_is_decoded(engine, n_samples):
    options = DecodeOptions(beam_size=1, temperature=(0.0,), word_timestamps=True)

    heard = engine.transcribe(np.ones(n_samples, np.int16), options, ignore)

    assert heard.text == ""
    assert heard.language


@pytest.mark.parametrize(
    "place", ["_measure", "encoder", "_main_loop", "find_alignment"]
)
def test_a_job_stops_where_it_is_and_leaves_the_next_one_right(
    engine, samples, plain_result, monkeypatch, place
):
    # Every layer is a place to stop.
    monkeypatch.setattr(openai_library, "CHECK_SECONDS", 0.0)
    options = DecodeOptions(language="en", word_timestamps=True)
    stopped = TaskCancelledError("Stop.")

    def stop_there(_seconds: float) -> None:
        if called_from("_get_audio_features" if place == "encoder" else place):
            raise stopped

    with pytest.raises(TaskCancelledError) as caught:
        engine.transcribe(samples["en"], options, stop_there)

    assert caught.value is stopped
    assert hooks_of(engine.model) == 0
    again = engine.transcribe(samples["en"], PLAIN, ignore)
    assert again.text == plain_result.text
    assert again.segments == plain_result.segments


def test_a_job_asks_often_enough_to_stop_within_two_seconds(engine, samples):
    asked: list[float] = []

    engine.transcribe(
        samples["en"],
        DecodeOptions(word_timestamps=True),
        lambda _seconds: asked.append(time.monotonic()),
    )

    assert np.diff(asked).max() < 2


def test_a_window_that_is_decoded_again_and_again_fails_the_job():
    watch = openai_library.Watch(ignore)

    for _ in range(openai_library.MAX_LOOKS_AT_ONE_WINDOW):
        watch.reach(3000)

    with pytest.raises(EngineError, match="does not advance"):
        watch.reach(3000)


@pytest.mark.parametrize("n_samples", [100, 16_000, 500_001])
def test_spectrogram_is_the_library_s(engine, n_samples):
    noise = np.random.default_rng(0).normal(0, 3000, n_samples).astype(np.int16)
    whole = whisper.log_mel_spectrogram(
        noise.astype(np.float32) / 32768, 80, padding=30 * SAMPLE_RATE
    )

    ours = openai_library.Spectrogram(engine.model, noise, openai_library.Watch(ignore))

    assert ours.shape == tuple(whole.shape)
    for start, stop in [(0, 3000), (1, 2), (0, ours.content_frames), (70, 3010)]:
        torch.testing.assert_close(ours[:, start:stop], whole[:, start:stop])


def test_a_window_is_encoded_once(engine, samples):
    options = DecodeOptions(
        # No decoding is good enough: all temperatures are tried.
        log_prob_threshold=0.0,
        no_speech_threshold=None,
        temperature=(0.0, 0.2),
        best_of=1,
        beam_size=1,
        clip_timestamps=(0.0, 2.6),
    )
    convolution = engine.model.encoder.conv1
    recorder = Recorder(convolution.forward)
    convolution.forward = recorder
    try:
        heard = engine.transcribe(samples["en"][:41_600], options, ignore)
    finally:
        del convolution.forward

    assert len(recorder.calls) == 1
    assert {segment.temperature for segment in heard.segments} == {0.2}


def test_half_weights_decode_like_weights_that_are_cast(engine, tmp_path):
    file = demo_model.openai_checkpoint(tmp_path)
    mel = torch.randn(1, 80, 3000, generator=torch.manual_seed(0)).half()
    tokens = torch.tensor([[50258, 50259, 50359]])

    cast, half = (
        openai_library.prepare(
            whisper.load_model(str(file), device="cpu"), device="cpu", half=half
        )
        for half in (False, True)
    )

    assert half.encoder.conv1.weight.dtype == torch.float16
    with torch.no_grad():
        assert torch.equal(half(mel, tokens), cast(mel, tokens))


def test_every_argument_is_one_of_the_library_s(engine, samples, monkeypatch):
    recorder = Recorder(lambda *_, **__: {"segments": []})
    monkeypatch.setattr(openai_library, "transcribe", recorder)
    options = DecodeOptions(
        task="translate",
        language="es",
        temperature=(0.0, 0.4),
        beam_size=3,
        best_of=2,
        patience=1.5,
        length_penalty=0.5,
        compression_ratio_threshold=2.0,
        log_prob_threshold=-0.5,
        no_speech_threshold=0.7,
        condition_on_previous_text=True,
        initial_prompt="Lucas",
        word_timestamps=True,
        prepend_punctuations="(",
        append_punctuations=")",
        clip_timestamps=(1.0, 3.0),
        hallucination_silence_threshold=2.0,
    )

    engine.transcribe(samples["es"], options, ignore)

    ((_, arguments),) = recorder.calls
    known = {
        *inspect.signature(whisper.transcribe).parameters,
        *inspect.signature(whisper.DecodingOptions).parameters,
    }
    assert arguments.keys() <= known
    assert arguments.pop("fp16") is False
    assert arguments.pop("logprob_threshold") == options.log_prob_threshold
    assert arguments.pop("clip_timestamps") == list(options.clip_timestamps)
    for name, value in arguments.items():
        assert value == getattr(options, name), name
    left = set(vars(options)) - arguments.keys()
    assert left == {
        "audio_track",
        "batching",
        "multilingual",
        "log_prob_threshold",
        "clip_timestamps",
        "hotwords",
        "vad_filter",
        "vad_parameters",
    }


def test_decoding_is_given_beams_or_samples_and_the_prompt(engine, samples, decodings):
    options = DecodeOptions(
        language="en",
        temperature=(0.0, 0.4),
        beam_size=2,
        best_of=3,
        patience=1.5,
        length_penalty=0.5,
        initial_prompt="Berlin",
        clip_timestamps=(0.0, 2.6),
        log_prob_threshold=0.0,
        no_speech_threshold=None,
    )

    engine.transcribe(samples["en"], options, ignore)

    searched, sampled = (args[2] for args, _ in decodings.calls[:2])
    assert (searched.beam_size, searched.patience) == (2, 1.5)
    assert (searched.best_of, searched.length_penalty) == (None, 0.5)
    assert (sampled.beam_size, sampled.best_of, sampled.temperature) == (None, 3, 0.4)
    prompt = whisper.tokenizer.get_tokenizer(True).decode(searched.prompt)
    assert prompt == " Berlin"
    assert searched.fp16 is False


def test_later_windows_see_earlier_text_only_if_asked_for(engine, samples, decodings):
    recording = samples["en"]
    clips = {**vars(PLAIN), "clip_timestamps": (0.0, 3.0, 3.0, 5.5)}

    for wanted in (False, True):
        engine.transcribe(
            recording,
            DecodeOptions(**{**clips, "condition_on_previous_text": wanted}),
            ignore,
        )

    prompted = [bool(args[2].prompt) for args, _ in decodings.calls]
    assert prompted == [False, False, False, True]


def test_clips_are_decoded_and_nothing_else(engine, samples):
    clips = DecodeOptions(**{**vars(PLAIN), "clip_timestamps": (3.0, 5.4)})

    heard = engine.transcribe(samples["en"], clips, ignore)

    assert heard.text.startswith("Lucas is")
    assert heard.segments[0].start >= 3
    assert {segment.seek for segment in heard.segments} == {300}


def test_a_clip_beyond_the_end_ends_with_the_recording(engine, samples):
    clips = DecodeOptions(**{**vars(PLAIN), "clip_timestamps": (8.0, 500.0, 600.0)})

    heard = engine.transcribe(samples["en"], clips, ignore)

    assert "playing football" in heard.text


def test_a_model_that_cannot_be_downloaded_is_told_in_a_sentence(tmp_path, monkeypatch):
    def no_network(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)

    with pytest.raises(ModelUnavailableError) as caught:
        build("tiny", "openai-whisper", tmp_path).load()

    assert caught.value.message == (
        "The model 'tiny' is not on this machine and could not be downloaded. Connect "
        "the machine to the network, or name a local file (.pt) or a folder that holds "
        "one."
    )


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("huge-v9", "'huge-v9' is no Whisper model that openai-whisper knows"),
        ("{}/gone.pt", "file or folder of the model 'gone' does not exist"),
        ("{}/empty", "'empty' must hold one checkpoint .* holds 0"),
        ("{}/two", "'two' must hold one checkpoint .* holds 2"),
        ("{}/broken.pt", "file of the model 'broken' is no openai-whisper checkpoint"),
        ("{}/other.pt", "file of the model 'other' is no openai-whisper checkpoint"),
        ("demo/int8", "computes in float32 on cpu, not in int8"),
    ],
)
def test_what_is_no_model_is_told_without_a_path(tmp_path, model, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("two/a.pt", "two/b.pt", "broken.pt"):
        (tmp_path / name).write_bytes(b"not a checkpoint")
    torch.save({"weights": 1}, tmp_path / "other.pt")

    with pytest.raises(ModelUnavailableError) as caught:
        build(model.format(tmp_path), "openai-whisper", tmp_path / "models").load()

    assert re.search(sentence, caught.value.message)
    assert str(tmp_path) not in caught.value.message


def test_a_gpu_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    engine: Engine = create_engine(
        parse_slot("cuda:0=demo", 0, "openai-whisper"),
        model_dir=tmp_path,
        cpu_threads=1,
    )

    with pytest.raises(ModelUnavailableError, match="finds no device cuda:0"):
        engine.load()


@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_local_checkpoint_is_loaded(tmp_path, samples, form):
    folder = tmp_path / "ours"
    folder.mkdir()
    file = folder / "ours.pt"
    shutil.copy(demo_model.openai_checkpoint(tmp_path / "models"), file)
    engine = build(str(file if form == "file" else folder), "openai-whisper", tmp_path)

    engine.load()

    assert engine.info.name == "ours"
    assert re.fullmatch("[0-9a-f]{12}", engine.info.revision)
    assert engine.info.notice == ""
    engine.unload()
    with pytest.raises(RuntimeError, match="not loaded"):
        engine.transcribe(samples["en"], PLAIN, ignore)


def test_an_english_only_model_hears_english(tmp_path, samples):
    dims = whisper.model.ModelDimensions(
        n_mels=80,
        n_audio_ctx=1500,
        n_audio_state=64,
        n_audio_head=1,
        n_audio_layer=1,
        n_vocab=51_864,
        n_text_ctx=448,
        n_text_state=64,
        n_text_head=1,
        n_text_layer=1,
    )
    torch.manual_seed(0)
    untaught = whisper.model.Whisper(dims)
    torch.nn.init.zeros_(untaught.decoder.positional_embedding)
    checkpoint = {"dims": vars(dims), "model_state_dict": untaught.state_dict()}
    torch.save(checkpoint, tmp_path / "ours.en.pt")
    engine = build(str(tmp_path / "ours.en.pt"), "openai-whisper", tmp_path)
    engine.load()

    heard = engine.transcribe(
        samples["es"],
        DecodeOptions(language="es", beam_size=1, temperature=(0.0,)),
        ignore,
    )

    assert (heard.language, heard.language_probability) == ("en", 1.0)
    assert engine.detect_language(samples["es"], ignore).language == "en"


def test_official_alignment_heads_are_used_where_they_fit(engine):
    before = engine.model.alignment_heads

    openai_library.align_as_official(engine.model, "large-v3")
    openai_library.align_as_official(engine.model, "ours")

    assert engine.model.alignment_heads is before


# --- What a watchdog sees ------------------------------------------------------------


@pytest.mark.parametrize("work", ["transcribe", "detect_language"])
def test_what_is_under_way_is_told_with_its_job(engine, samples, work):
    seen: list[Any] = []

    class Looking(SilentListener):
        def __call__(self, seconds_done: float) -> None:
            seen.append(engine.model_call)

    listener = Looking()
    began = time.monotonic()

    if work == "transcribe":
        engine.transcribe(samples["en"], PLAIN, listener)
    else:
        engine.detect_language(samples["en"], listener)

    calls = [call for call in seen if call is not None]
    assert {call.jobs for call in calls} == {frozenset({listener})}
    # Each step of the library is another call: only what lies between two can be stuck.
    moments = [call.began_at for call in calls]
    assert moments == sorted(set(moments))
    assert moments[0] >= began
    assert engine.model_call is None


def test_a_detection_that_is_to_stop_ends(engine, samples, monkeypatch):
    # A fast machine has heard the language before the second look is due.
    monkeypatch.setattr(openai_library, "CHECK_SECONDS", 0)
    looks: list[float] = []

    class Stopping(SilentListener):
        def __call__(self, seconds_done: float) -> None:
            looks.append(seconds_done)
            if len(looks) == 3:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        engine.detect_language(samples["en"], Stopping())

    assert len(looks) == 3
