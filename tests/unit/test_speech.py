"""Where speech is, and which chunks are made of it."""

from __future__ import annotations

import wave
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model
from hypothesis import example, given, settings

from transcription.audio import SAMPLE_RATE, WINDOW_SAMPLES
from transcription.engines import demo_model, speech
from transcription.engines.options import VadParameters
from transcription.engines.speech import (
    FRAME_SAMPLES,
    Span,
    find_runs,
    plan_chunks,
    speech_probabilities,
    speech_spans,
)
from transcription.samples import to_float

SECOND_STEPS = SAMPLE_RATE / FRAME_SAMPLES


def recording(language: str = "en") -> Any:
    """A sample, int16."""
    sample = next(s for s in demo_model.samples() if s.language == language)
    with wave.open(str(sample.path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def pause(seconds: float) -> Any:
    return np.zeros(int(seconds * SAMPLE_RATE), dtype=np.int16)


def library_probabilities(samples: Any) -> Any:
    """What faster-whisper gives for the whole recording at once."""
    padding = FRAME_SAMPLES - len(samples) % FRAME_SAMPLES
    padded = np.pad(to_float(samples), (0, padding))
    return get_vad_model()(padded).reshape(-1)


def steps(*stretches: tuple[float, float]) -> Any:
    """Probabilities: so many seconds of each."""
    return np.concatenate(
        [
            np.full(round(seconds * SECOND_STEPS), probability, dtype=np.float32)
            for seconds, probability in stretches
        ]
    )


def plan(probabilities: Any, **options: Any) -> list[Span]:
    keep_silence = options.pop("keep_silence", False)
    chunks, _ = plan_chunks(
        probabilities,
        VadParameters(**options),
        len(probabilities) * FRAME_SAMPLES,
        keep_silence=keep_silence,
    )
    return chunks


# --- Probabilities -------------------------------------------------------------------


@pytest.mark.parametrize("block_frames", [1, 7, 100, 5000])
def test_probabilities_are_those_of_the_library_across_blocks(
    monkeypatch, block_frames
):
    samples = recording()[: 4 * SAMPLE_RATE + 100]
    monkeypatch.setattr(speech, "BLOCK_FRAMES", block_frames)

    found = speech_probabilities(samples)

    np.testing.assert_allclose(found, library_probabilities(samples), atol=1e-5)
    assert found.max() > 0.9
    assert found.min() < 0.1


def test_a_recording_of_whole_blocks_has_one_probability_a_step(monkeypatch):
    monkeypatch.setattr(speech, "BLOCK_FRAMES", 10)
    samples = recording()[: 20 * FRAME_SAMPLES]

    found = speech_probabilities(samples)

    # The library adds a step of silence and clears the end of the last.
    np.testing.assert_allclose(found, library_probabilities(samples)[:20], atol=1e-5)
    assert len(found) == 20


def test_no_samples_have_no_probabilities():
    assert speech_probabilities(pause(0)).shape == (0,)


def test_between_blocks_a_job_may_be_stopped(monkeypatch):
    monkeypatch.setattr(speech, "BLOCK_FRAMES", 10)
    checks: list[int] = []

    def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        speech_probabilities(pause(10.0), check=check)

    assert len(checks) == 3


# --- Speech --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_silence_duration_ms": 100, "speech_pad_ms": 30},
        {"min_silence_duration_ms": 300, "min_speech_duration_ms": 900},
        {"threshold": 0.8, "neg_threshold": 0.3, "min_silence_duration_ms": 200},
    ],
)
def test_speech_is_where_the_library_finds_it(options):
    samples = np.concatenate([pause(3.0), recording(), pause(4.0), recording("es")])
    parameters = VadParameters(**options)

    runs = find_runs(speech_probabilities(samples), parameters)
    found = speech_spans(runs, parameters, len(samples))

    wanted = get_speech_timestamps(to_float(samples), VadOptions(**options))
    assert len(found) == len(wanted) > 1
    # How halves of a pause are rounded differs.
    for span, other in zip(found, wanted, strict=True):
        assert span.start == pytest.approx(other["start"], abs=2)
    for span, other in zip(found[:-1], wanted[:-1], strict=True):
        assert span.end == pytest.approx(other["end"], abs=2)
    # Of a pause that the recording ends in, the library keeps all.
    assert wanted[-1]["end"] - 2 * SAMPLE_RATE <= found[-1].end <= wanted[-1]["end"]


@pytest.mark.parametrize("keep_silence", [True, False])
def test_silence_has_no_speech(keep_silence):
    samples = pause(70.0)

    chunks, seconds = plan_chunks(
        speech_probabilities(samples),
        VadParameters(),
        len(samples),
        keep_silence=keep_silence,
    )

    if keep_silence:
        assert seconds == sum(chunk.seconds for chunk in chunks) == 70.0
    else:
        assert (chunks, seconds) == ([], 0)


# --- Chunks --------------------------------------------------------------------------


def test_neighbouring_speech_is_packed_into_one_chunk():
    (chunk,) = plan(steps((2, 0), (5, 1), (3, 0), (6, 1), (4, 0), (5, 1), (2, 0)))

    assert chunk.start / SAMPLE_RATE == pytest.approx(1.6, abs=0.05)
    assert chunk.end / SAMPLE_RATE == pytest.approx(25.4, abs=0.05)


def test_a_long_pause_lies_in_no_chunk():
    first, second = plan(steps((5, 1), (8, 0), (5, 1)))

    assert first.seconds + second.seconds == pytest.approx(10.8, abs=0.1)


def test_a_full_chunk_ends_at_the_last_pause_before():
    speaking = [(7.0, 1.0), (0.5, 0.0)] * 8

    chunks = plan(steps(*speaking))

    # The middles of the pauses: 7.25, 14.75, 22.25, 29.75, …, 52.25 s.
    assert [round(chunk.end / SAMPLE_RATE, 1) for chunk in chunks] == [29.8, 52.4, 60.0]
    assert all(left.end == right.start for left, right in pairwise(chunks))


def test_speech_without_a_pause_is_cut_where_it_is_least_like_speech():
    probabilities = np.ones(round(50 * SECOND_STEPS), dtype=np.float32)
    # One doubtful moment too early to be of use, one in the last 8 s.
    probabilities[round(10 * SECOND_STEPS)] = 0.6
    quiet = round(26 * SECOND_STEPS)
    probabilities[quiet] = 0.8

    first, second = plan(probabilities)

    assert first.end == second.start == quiet * FRAME_SAMPLES
    assert second.end == len(probabilities) * FRAME_SAMPLES


def test_endless_speech_is_cut_into_long_pieces():
    chunks = plan(np.ones(round(600 * SECOND_STEPS), dtype=np.float32))

    assert all(22 <= chunk.seconds <= 30 for chunk in chunks[:-1])


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Any, int]:
    """Probabilities as speech and pauses have them, and the number of samples."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stretches = draw(
        st.lists(
            st.tuples(st.integers(1, 1500), st.sampled_from([0.02, 0.4, 0.5, 0.97])),
            max_size=12,
        )
    )
    parts = [np.full(length, level) for length, level in stretches]
    level = np.concatenate(parts) if parts else np.zeros(0)
    noise = draw(st.sampled_from([0.0, 0.02, 0.3, 1.0])) * rng.standard_normal(
        len(level)
    )
    probabilities = np.clip(level + noise, 0, 1).astype(np.float32)
    missing = draw(st.integers(0, FRAME_SAMPLES - 1)) if len(level) else 0
    return probabilities, len(level) * FRAME_SAMPLES - missing


PARAMETERS = st.builds(
    VadParameters,
    threshold=st.floats(0, 1),
    neg_threshold=st.none() | st.floats(0, 1),
    min_speech_duration_ms=st.integers(0, 60_000) | st.integers(0, 500),
    max_speech_duration_s=st.none()
    | st.floats(0, 40)
    | st.sampled_from([0.0, 0.01, 0.04, 86_400.0]),
    min_silence_duration_ms=st.integers(0, 60_000) | st.integers(0, 500),
    speech_pad_ms=st.integers(0, 10_000) | st.integers(0, 500),
)
TWO_SHORT_STRETCHES = (steps((2, 0), (1.01, 1), (2, 0)), 79_000)


@given(recordings(), PARAMETERS, st.booleans())
@example(TWO_SHORT_STRETCHES, VadParameters(max_speech_duration_s=1.0), False)
@example((np.ones(1, np.float32), 1), VadParameters(max_speech_duration_s=0.0), False)
@settings(max_examples=150)
def test_chunks_keep_their_laws(made, parameters, keep_silence):
    probabilities, n_samples = made

    chunks, seconds = plan_chunks(
        probabilities, parameters, n_samples, keep_silence=keep_silence
    )

    runs = find_runs(probabilities, parameters)
    spans = speech_spans(runs, parameters, n_samples)
    for chunk in chunks:
        assert 0 <= chunk.start < chunk.end <= n_samples
        assert chunk.end - chunk.start <= WINDOW_SAMPLES
    for left, right in pairwise(chunks):
        assert left.end <= right.start
    if keep_silence:
        bounds = [chunk.start for chunk in chunks] + [n_samples]
        assert [0, *(chunk.end for chunk in chunks)] == bounds
        return
    assert seconds == pytest.approx(sum(span.seconds for span in spans))
    heard = np.zeros(n_samples, dtype=bool)
    for chunk in chunks:
        heard[chunk.start : chunk.end] = True
    for span in spans:
        assert heard[span.start : span.end].all()
    # A chunk begins and ends with speech: a window of silence is asked of nobody.
    for chunk in chunks:
        assert any(span.start <= chunk.start < span.end for span in spans)
        assert any(span.start < chunk.end <= span.end for span in spans)


@given(recordings(), st.floats(1, 40))
@settings(max_examples=40)
def test_the_longest_speech_is_kept_where_it_is_cut(made, longest):
    probabilities, n_samples = made
    parameters = VadParameters(max_speech_duration_s=longest)
    runs = find_runs(probabilities, parameters)
    spans = speech_spans(runs, parameters, n_samples)

    for span in spans:
        pieces = speech._cut(span, speech._pauses(runs), probabilities, parameters)

        assert (pieces[0].start, pieces[-1].end) == (span.start, span.end)
        assert all(left.end == right.start for left, right in pairwise(pieces))
        assert all(0 < piece.seconds <= min(longest, 30) for piece in pieces)
