"""What decode options cost: hypotheses of a window, and windows of a recording."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.engines.options import (
    MOST_HYPOTHESES,
    DecodeOptions,
    VadParameters,
)


def shreds(seconds: float) -> VadParameters:
    return VadParameters(max_speech_duration_s=seconds)


@pytest.mark.parametrize(
    ("options", "hypotheses"),
    [
        (DecodeOptions(), 30),
        (DecodeOptions(temperature=(0.0,)), 5),
        (DecodeOptions(temperature=(0.0,), beam_size=20, best_of=20), 20),
        (DecodeOptions(temperature=(0.5, 1.0), best_of=20), 40),
        (DecodeOptions(temperature=(1.0,) * 10, best_of=20), 200),
    ],
)
def test_hypotheses(options, hypotheses):
    assert options.hypotheses == hypotheses


def test_the_defaults_are_well_within_the_bound():
    assert 2 * DecodeOptions().hypotheses <= MOST_HYPOTHESES


@pytest.mark.parametrize(
    ("options", "duration", "counted"),
    [
        (DecodeOptions(), 10.0, 10.0),
        (DecodeOptions(), 3600.0, 3600.0),
        # A clip a window: no more than it has anyway.
        (DecodeOptions(clip_timestamps=(0.0, 5.0)), 10.0, 10.0),
        (DecodeOptions(clip_timestamps=(0.0, 5.0, 40.0)), 90.0, 90.0),
        (DecodeOptions(clip_timestamps=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0)), 10.0, 70.0),
        # What begins after the end is not decoded.
        (DecodeOptions(clip_timestamps=(0.0, 1.0, 20.0, 21.0)), 10.0, 10.0),
        (DecodeOptions(vad_parameters=shreds(1.0)), 10.0, 10.0 + 9 * 30.0),
        (DecodeOptions(vad_parameters=shreds(30.0)), 3600.0, 3600.0),
        (DecodeOptions(vad_parameters=shreds(600.0)), 3600.0, 3600.0),
        # The library itself joins what its filter has cut.
        (DecodeOptions(vad_parameters=shreds(1.0), batching="off"), 10.0, 10.0),
    ],
)
def test_counted_seconds(options, duration, counted):
    assert options.counted_seconds(duration) == counted


@given(
    st.floats(0, 86_400),
    st.lists(st.floats(0, 86_400), max_size=200, unique=True).map(sorted),
    st.none() | st.floats(1, 86_400),
)
def test_a_recording_never_counts_as_less_than_it_is(duration, clips, longest):
    options = DecodeOptions(
        clip_timestamps=tuple(clips),
        vad_parameters=VadParameters(max_speech_duration_s=longest),
    )

    assert options.counted_seconds(duration) >= duration
