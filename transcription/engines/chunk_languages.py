"""The languages of a job's chunks, and what its reader must know of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from transcription.engines.base import LanguageDetection, average_probabilities
from transcription.notices import Notice, NoticeCode
from whisperhub.sentences import Sentence

# So sure must a chunk be of another language; relatives are easily confused.
SURE_OF_ANOTHER: Final = 0.8
MOST_PLACES: Final = 20


@dataclass
class ChunkLanguages:
    """Collects the languages of a job's chunks, in the order of the media.

    Attributes:
        language: that of the job.
    """

    language: str
    _heard: list[dict[str, float]] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    _others: list[dict[str, Any]] = field(default_factory=list)

    def add(self, probabilities: dict[str, float], *, begin: float, end: float) -> None:
        """Note a chunk; without probabilities it was not looked at."""
        if not probabilities:
            return
        self._heard.append(probabilities)
        self._seconds.append(end - begin)
        code, probability = next(iter(probabilities.items()))
        if code != self.language and probability >= SURE_OF_ANOTHER:
            self._others.append({"start": begin, "end": end, "language": code})

    def summary(
        self, detected: LanguageDetection, *, multilingual: bool
    ) -> dict[str, Any]:
        """Language, probabilities and notices of the whole.

        Args:
            detected: the language of the job, before it was decoded.
            multilingual: each chunk was decoded in its own language.
        """
        if multilingual and self._heard and sum(self._seconds) > 0:
            detected = average_probabilities(self._heard, self._seconds)
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
