"""Telling the language of a recording: from where somebody speaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from transcription.audio import WINDOW_SAMPLES
from transcription.engines.base import (
    LanguageDetection,
    average_probabilities,
    spread_windows,
)
from transcription.engines.options import VadParameters
from transcription.engines.speech import (
    Span,
    find_runs,
    joined_spans,
    speech_probabilities,
    speech_spans,
)
from transcription.samples import Samples

# Below this a window does not settle the language: it may hold noise or music.
SURE_OF_LANGUAGE: Final = 0.5
NO_LANGUAGE: Final = LanguageDetection(None, None, {})


@dataclass(frozen=True)
class Window:
    """Where to listen: a stretch of 30 s at most.

    Attributes:
        weight: samples of speech in it.
    """

    span: Span
    weight: int


def detect(
    samples: Samples,
    windows: int,
    hear: Callable[[Samples], dict[str, float]],
    *,
    check: Callable[[], None],
) -> LanguageDetection:
    """Tell the language; none if nobody speaks.

    Args:
        samples: the recording.
        windows: how many are listened to at most.
        hear: gives the probability of each language in at most 30 s.
        check: called now and then; raises to stop.
    """
    places = speech_windows(samples, windows, check=check)
    if not places:
        return NO_LANGUAGE
    heard = [hear(samples[place.span.start : place.span.end]) for place in places]
    return average_probabilities(heard, [place.weight for place in places])


def speech_windows(
    samples: Samples, windows: int, *, check: Callable[[], None] = lambda: None
) -> list[Window]:
    """Where to listen for the language: windows with speech, spread over all of it."""
    parameters = VadParameters()
    runs = find_runs(speech_probabilities(samples, check=check), parameters)
    spans = speech_spans(runs, parameters, len(samples))
    places = [
        Span(
            stretch.start + start,
            min(stretch.start + start + WINDOW_SAMPLES, stretch.end),
        )
        for stretch in joined_spans(spans)
        for start in spread_windows(stretch.end - stretch.start, windows)
    ]
    chosen = [places[number] for number in _evenly(len(places), windows)]
    return [Window(place, _speech_in(place, spans)) for place in chosen]


def _evenly(count: int, most: int) -> list[int]:
    """So many numbers below a count, the first and the last among them."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [0]
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


def _speech_in(place: Span, spans: list[Span]) -> int:
    return sum(
        max(0, min(place.end, span.end) - max(place.start, span.start))
        for span in spans
    )
