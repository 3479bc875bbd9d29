"""Times that leave an engine: in order, apart, inside what was decoded."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.engines.base import Segment, Word
from transcription.engines.timeline import Timeline, clip_around

SECONDS = st.floats(-5, 200, allow_nan=False)


def segment(start: float, end: float, words: list[Word] | None = None) -> Segment:
    return Segment(7, 0, start, end, " a", [1], 0.0, -0.1, 1.0, 0.0, words)


words = st.lists(st.builds(Word, st.just(" a"), SECONDS, SECONDS, st.just(0.5)))
segments = st.lists(st.builds(segment, SECONDS, SECONDS, st.none() | words))
# What a job adds: stretches that follow each other, and what was heard in each.
additions = st.lists(st.tuples(st.floats(0, 40), segments), max_size=5)


def added(
    stretches: list[tuple[float, list[Segment]]], duration: float
) -> tuple[Timeline, list[tuple[float, float]]]:
    """A timeline of stretches, and the bounds of each of its segments."""
    timeline, bounds, begin = Timeline(duration), [], 0.0
    for seconds, heard in stretches:
        timeline.add(heard, begin=begin, end=begin + seconds)
        bounds += [(begin, begin + seconds)] * len(heard)
        begin += seconds
    return timeline, bounds


@given(additions, st.floats(0, 150))
def test_segments_and_words_never_overlap_nor_leave_their_stretch(stretches, duration):
    timeline, bounds = added(stretches, duration)

    assert len(timeline.segments) == len(bounds)
    for (begin, end), part in zip(bounds, timeline.segments, strict=True):
        assert 0 <= part.start <= part.end <= duration
        assert min(begin, duration) <= part.start
        assert part.end <= max(end, min(begin, duration))
        assert all(part.start <= word.start for word in part.words or ())
        assert all(word.end <= part.end for word in part.words or ())
        assert all(word.start <= word.end for word in part.words or ())
        assert all(
            left.end <= right.start for left, right in pairwise(part.words or ())
        )
    assert all(left.end <= right.start for left, right in pairwise(timeline.segments))


@given(additions, st.floats(0, 150))
def test_nothing_but_times_and_ids_changes(stretches, duration):
    timeline, _ = added(stretches, duration)

    heard = [part for _, parts in stretches for part in parts]
    assert [part.id for part in timeline.segments] == list(range(len(heard)))
    for part, before in zip(timeline.segments, heard, strict=True):
        assert (
            replace(
                part,
                id=before.id,
                start=before.start,
                end=before.end,
                words=before.words,
            )
            == before
        )
        assert [(w.word, w.probability) for w in part.words or ()] == [
            (w.word, w.probability) for w in before.words or ()
        ]


@given(additions, st.floats(0, 150))
def test_what_is_published_is_what_the_result_will_have(stretches, duration):
    published: list[Segment] = []
    timeline = Timeline(duration, published.extend)

    for seconds, heard in stretches:
        timeline.add(heard, end=seconds)

    assert published == timeline.segments


@given(st.lists(st.floats(0, 100), min_size=2, max_size=12))
def test_times_that_are_right_stay_exactly_as_they_are(times):
    times.sort()
    heard = [
        segment(start, end, [Word(" a", start, end, 0.5)])
        for start, end in zip(times[::2], times[1::2], strict=False)
    ]
    timeline = Timeline(100.0)

    timeline.add(heard)

    assert timeline.segments == [
        replace(part, id=number) for number, part in enumerate(heard)
    ]


def test_a_segment_ends_where_its_chunk_does():
    timeline = Timeline(60.0)

    timeline.add([segment(22.0, 30.0)], end=29.9)
    timeline.add([segment(29.9, 32.9)], begin=29.9, end=59.0)

    assert [(part.start, part.end) for part in timeline.segments] == [
        (22.0, 29.9),
        (29.9, 32.9),
    ]


@pytest.mark.parametrize(
    ("seconds", "clips", "bounds"),
    [
        (12.0, [], (0.0, math.inf)),
        (0.0, [2.0, 5.0], (0.0, math.inf)),
        (2.0, [2.0, 5.0], (2.0, 5.0)),
        (4.9, [2.0, 5.0, 7.0], (2.0, 5.0)),
        (7.0, [2.0, 5.0, 7.0], (7.0, math.inf)),
        (90.0, [2.0, 5.0, 7.0], (7.0, math.inf)),
        (2.0, [2.004, 5.0], (2.004, 5.0)),
    ],
)
def test_the_clip_of_a_window(seconds, clips, bounds):
    assert clip_around(seconds, clips) == bounds
