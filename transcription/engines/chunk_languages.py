"""The languages of a job's chunks, and what its reader must know of them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, Final

from transcription.engines.base import LanguageDetection, average_probabilities
from transcription.engines.speech import Span
from transcription.notices import Notice, NoticeCode
from whisperhub.sentences import Sentence

# So sure must a chunk be of another language; relatives are easily confused.
SURE_OF_ANOTHER: Final = 0.8
MOST_PLACES: Final = 20
# A chunk that is less sure of the language of its job is looked at part by part. A
# shorter part tells little.
SURE_OF_ITS_OWN: Final = 0.8
PART_SECONDS: Final = 7.0


@dataclass(frozen=True)
class HeardLanguage:
    """What was spoken in a stretch of the media.

    Attributes:
        begin: in seconds.
        end: in seconds.
        probabilities: of each language, most probable first.
    """

    begin: float
    end: float
    probabilities: dict[str, float]


def is_mixed(heard: HeardLanguage, language: str) -> bool:
    """Whether something else than a language may be spoken in a part of a chunk."""
    is_long = heard.end - heard.begin > PART_SECONDS
    return is_long and heard.probabilities.get(language, 0.0) < SURE_OF_ITS_OWN


def parts_of(chunk: Span) -> list[Span]:
    """Equal parts of a chunk, of PART_SECONDS at most."""
    count = math.ceil(chunk.seconds / PART_SECONDS)
    length = chunk.end - chunk.start
    edges = [chunk.start + length * number // count for number in range(count + 1)]
    return [Span(start, end) for start, end in itertools.pairwise(edges)]


@dataclass
class ChunkLanguages:
    """Collects the languages of a job's chunks, in the order of the media.

    Attributes:
        language: that of the job.
    """

    language: str
    _heard: list[HeardLanguage] = field(default_factory=list)
    _others: list[dict[str, Any]] = field(default_factory=list)

    def add(self, heard: list[HeardLanguage]) -> None:
        """Note a chunk; nothing, if nobody looked at its language."""
        self._heard += heard
        for stretch in heard:
            code, probability = next(iter(stretch.probabilities.items()))
            if code != self.language and probability >= SURE_OF_ANOTHER:
                self._others.append(
                    {"start": stretch.begin, "end": stretch.end, "language": code}
                )

    def summary(
        self, detected: LanguageDetection, *, multilingual: bool
    ) -> dict[str, Any]:
        """Language, probabilities and notices of the whole.

        Args:
            detected: the language of the job, before it was decoded.
            multilingual: each chunk was decoded in its own language.
        """
        seconds = [stretch.end - stretch.begin for stretch in self._heard]
        if multilingual and sum(seconds) > 0:
            detected = average_probabilities(
                [stretch.probabilities for stretch in self._heard], seconds
            )
        notices = [self._notice()] if self._others and not multilingual else []
        return {
            "language": detected.language,
            "language_probability": detected.probability,
            "language_probabilities": detected.probabilities,
            "notices": notices,
        }

    def _notice(self) -> Notice:
        others = sorted({place["language"] for place in self._others})
        first = self._others[0]
        return Notice(
            NoticeCode.OTHER_LANGUAGES,
            Sentence(
                "The recording was transcribed as {language!r}, but parts of it seem "
                "to be in {others}, the first at {start:.0f} s. Transcribe it again "
                "with multilingual=true.",
                language=self.language,
                others=", ".join(others),
                start=first["start"],
            ),
            {
                "language": self.language,
                "others": others,
                "count": len(self._others),
                "places": self._others[:MOST_PLACES],
            },
        )
