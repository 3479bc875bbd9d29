"""Where the language of a recording is listened for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.audio import SAMPLE_RATE, WINDOW_SAMPLES
from transcription.engines import detection
from transcription.engines.base import average_probabilities
from transcription.engines.detection import NO_LANGUAGE, detect, speech_windows
from transcription.engines.speech import FRAME_SAMPLES

# Seconds of a recording, in turn without and with speech.
stretches = st.lists(st.integers(1, 100), min_size=1, max_size=12)


def recording(seconds: list[int]) -> np.ndarray:
    """Zeros where nobody speaks, ones where somebody does."""
    parts = [np.full(n * SAMPLE_RATE, i % 2, np.int16) for i, n in enumerate(seconds)]
    return np.concatenate(parts)


@pytest.fixture(autouse=True)
def speech_is_not_zero(monkeypatch):
    """A voice activity detection for recordings of zeros and ones."""

    def probabilities(samples, *, check):
        check()
        return samples[::FRAME_SAMPLES].astype(np.float32)

    monkeypatch.setattr(detection, "speech_probabilities", probabilities)


def nothing() -> None:
    pass


@given(stretches, st.integers(1, 8))
def test_windows_hold_speech_and_are_no_more_than_wanted(seconds, windows):
    samples = recording(seconds)

    found = speech_windows(samples, windows)

    assert len(found) <= windows
    assert bool(found) == (len(seconds) > 1)
    starts = [place.span.start for place in found]
    assert starts == sorted(set(starts))
    for place in found:
        length = place.span.end - place.span.start
        assert 0 < length <= WINDOW_SAMPLES
        assert 0 < place.weight <= length
        assert samples[place.span.start : place.span.end].any()


def test_speech_in_long_noise_is_found():
    (place,) = speech_windows(recording([100, 5, 100]), 4)

    assert place.span.start / SAMPLE_RATE == pytest.approx(100, abs=0.5)
    assert place.span.end / SAMPLE_RATE == pytest.approx(105, abs=0.5)


def test_windows_are_spread_over_the_speech():
    places = speech_windows(recording([60, 120, 60]), 3)

    assert [round(place.span.start / SAMPLE_RATE) for place in places] == [60, 105, 150]


def test_a_window_counts_by_the_speech_in_it():
    heard = iter([{"en": 0.9, "es": 0.1}, {"es": 1.0, "en": 0.0}])

    found = detect(
        recording([10, 25, 10, 3, 10]), 4, lambda _: next(heard), check=nothing
    )

    assert found.language == "en"
    assert found.probability == pytest.approx(0.9 * 25.8 / 29.6, abs=0.02)


def test_nothing_is_listened_to_where_nobody_speaks():
    def hear(_: object) -> dict[str, float]:
        raise AssertionError

    assert detect(recording([90]), 4, hear, check=nothing) == NO_LANGUAGE
    assert NO_LANGUAGE.language is None


def test_a_job_that_is_to_stop_stops():
    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        detect(recording([1, 5]), 4, lambda _: {"en": 1.0}, check=check)


def test_windows_without_weights_count_alike():
    windows = [{"en": 1.0, "es": 0.0}, {"es": 1.0, "en": 0.0}]

    assert average_probabilities(windows).probability == 0.5
    assert average_probabilities(windows, [3, 1]).probability == 0.75
