"""Where a language is listened for, and what several windows say together."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.audio import SAMPLE_RATE, WINDOW_SAMPLES
from transcription.engines.base import (
    DETECTION_WINDOWS,
    average_probabilities,
    spread_windows,
)

lengths = st.integers(0, 24 * 3600 * SAMPLE_RATE)
counts = st.integers(1, 50)


@given(lengths, counts)
def test_every_window_lies_in_the_recording(n_samples, windows):
    starts = spread_windows(n_samples, windows)

    assert starts
    assert all(0 <= start <= max(0, n_samples - WINDOW_SAMPLES) for start in starts)


@given(lengths, counts)
def test_windows_rise_and_are_no_more_than_wanted(n_samples, windows):
    starts = spread_windows(n_samples, windows)

    assert starts == sorted(set(starts))
    assert len(starts) <= windows


@given(st.integers(WINDOW_SAMPLES + 1, 24 * 3600 * SAMPLE_RATE), st.integers(2, 50))
def test_the_first_and_the_last_are_among_them(n_samples, windows):
    starts = spread_windows(n_samples, windows)

    assert (starts[0], starts[-1]) == (0, n_samples - WINDOW_SAMPLES)


@given(lengths, counts)
def test_windows_are_evenly_apart(n_samples, windows):
    starts = spread_windows(n_samples, windows)

    gaps = [right - left for left, right in pairwise(starts)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("seconds", "windows", "starts"),
    [
        (0, 4, [0]),
        (10, 4, [0]),
        (30, 4, [0]),
        (31, 4, [0, 1]),
        (60, 4, [0, 30]),
        (120, 4, [0, 30, 60, 90]),
        (330, 4, [0, 100, 200, 300]),
        (330, 1, [0]),
    ],
)
def test_places(seconds, windows, starts):
    found = spread_windows(seconds * SAMPLE_RATE, windows)

    assert found == [start * SAMPLE_RATE for start in starts]


def test_several_windows_are_the_default():
    assert DETECTION_WINDOWS > 1


probabilities = st.dictionaries(
    st.sampled_from(["en", "es", "zh"]), st.floats(0, 1), min_size=3, max_size=3
)


@given(st.lists(probabilities, min_size=1, max_size=8))
def test_the_mean_is_ordered_and_lies_between(windows):
    found = average_probabilities(windows)

    assert found.language
    values = list(found.probabilities.values())
    assert values == sorted(values, reverse=True)
    assert found.probability == values[0] == found.probabilities[found.language]
    for language, mean in found.probabilities.items():
        heard = [window[language] for window in windows]
        assert min(heard) - 1e-9 <= mean <= max(heard) + 1e-9


def test_one_odd_window_is_outvoted():
    windows = [{"en": 0.9, "es": 0.1}, {"es": 0.8, "en": 0.2}, {"en": 0.9, "es": 0.1}]

    assert average_probabilities(windows).language == "en"
