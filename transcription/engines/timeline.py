"""The times of a transcript: in order, without overlap, and inside the recording.

A model guesses times in steps of 20 ms and for windows of 30 s, whatever lies in them:
its last segment may end after the window, its clip or the recording. Everything that
leaves an engine goes through here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from transcription.engines.base import Segment, Word


class Timeline:
    """The segments of one job, which are final as soon as they are added.

    Attributes:
        segments: with ids from 0; none begins before the one before it has ended.
    """

    def __init__(
        self,
        duration_seconds: float,
        publish: Callable[[list[Segment]], None] | None = None,
    ) -> None:
        """Begin a recording of this length; `publish` is called with what is added."""
        self.segments: list[Segment] = []
        self._duration_seconds = duration_seconds
        self._publish = publish

    def add(
        self, heard: Iterable[Segment], *, begin: float = 0.0, end: float = math.inf
    ) -> None:
        """Append segments, with their times moved into what was decoded.

        Args:
            heard: in the order of the media; times in seconds of the media.
            begin: where the stretch begins that they were heard in.
            end: where it ends.
        """
        latest = min(end, self._duration_seconds)
        added: list[Segment] = []
        earliest = min(begin, latest)
        if self.segments:
            earliest = max(earliest, self.segments[-1].end)
        for number, segment in enumerate(heard, len(self.segments)):
            fitted = fit(segment, earliest, latest)
            added.append(replace(fitted, id=number))
            earliest = fitted.end
        self.segments.extend(added)
        if self._publish is not None:
            self._publish(added)


def fit(segment: Segment, earliest: float, latest: float) -> Segment:
    """A segment between two moments, with its words in order inside it.

    One that lies outside altogether has no length then. Times that are right already
    stay exactly as they are.
    """
    start, end = _between(segment.start, segment.end, earliest, latest)
    words = segment.words
    if words is not None:
        words = _fit_words(words, start, end)
    return replace(segment, start=start, end=end, words=words)


def _fit_words(words: list[Word], start: float, end: float) -> list[Word]:
    fitted: list[Word] = []
    for word in words:
        start, word_end = _between(word.start, word.end, start, end)
        fitted.append(replace(word, start=start, end=word_end))
        start = word_end
    return fitted


def _between(
    start: float, end: float, earliest: float, latest: float
) -> tuple[float, float]:
    latest = max(earliest, latest)
    start = min(max(start, earliest), latest)
    return start, min(max(end, start), latest)


def clip_around(
    seconds: float, clip_timestamps: Sequence[float]
) -> tuple[float, float]:
    """The clip that a window belongs to: where it begins and ends.

    Args:
        seconds: where the window begins.
        clip_timestamps: start, end, start, … in seconds, rising; none: no clips.
    """
    begin, end = 0.0, math.inf
    starts, ends = clip_timestamps[::2], clip_timestamps[1::2]
    for start, stop in zip_longest(starts, ends, fillvalue=math.inf):
        # Engines seek in frames of 10 ms.
        if round(start, 2) <= seconds:
            begin, end = start, stop
    return begin, end
