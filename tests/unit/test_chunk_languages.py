"""What a job says of the languages of its chunks."""

from __future__ import annotations

import pytest

from transcription.engines.base import LanguageDetection
from transcription.engines.chunk_languages import MOST_PLACES, ChunkLanguages
from transcription.notices import NoticeCode

ENGLISH = LanguageDetection("en", 0.9, {"en": 0.9, "de": 0.1})


def test_chunks_of_another_language_are_noticed():
    languages = ChunkLanguages("en")
    languages.add({"en": 0.9, "de": 0.1}, begin=0.0, end=20.0)
    languages.add({"de": 0.95, "en": 0.05}, begin=20.0, end=40.0)
    languages.add({"fr": 0.85, "en": 0.15}, begin=40.0, end=50.0)

    summary = languages.summary(ENGLISH, multilingual=False)

    assert (summary["language"], summary["language_probability"]) == ("en", 0.9)
    (notice,) = summary["notices"]
    assert notice.code is NoticeCode.OTHER_LANGUAGES
    assert "multilingual=true" in notice.message
    assert notice.details == {
        "language": "en",
        "others": ["de", "fr"],
        "count": 2,
        "places": [
            {"start": 20.0, "end": 40.0, "language": "de"},
            {"start": 40.0, "end": 50.0, "language": "fr"},
        ],
    }


@pytest.mark.parametrize(
    "probabilities",
    [{}, {"en": 0.9, "de": 0.1}, {"de": 0.7, "en": 0.3}],
    ids=["not looked at", "the same", "not sure"],
)
def test_nothing_is_noticed_without_a_reason(probabilities):
    languages = ChunkLanguages("en")

    languages.add(probabilities, begin=0.0, end=20.0)

    assert languages.summary(ENGLISH, multilingual=False)["notices"] == []


def test_a_notice_names_some_places_and_counts_all():
    languages = ChunkLanguages("en")
    for number in range(50):
        languages.add({"de": 1.0}, begin=float(number), end=number + 1.0)

    (notice,) = languages.summary(ENGLISH, multilingual=False)["notices"]

    assert notice.details["count"] == 50
    assert len(notice.details["places"]) == MOST_PLACES


def test_a_multilingual_job_has_the_language_that_is_spoken_most():
    languages = ChunkLanguages("en")
    languages.add({"en": 1.0, "de": 0.0}, begin=0.0, end=10.0)
    languages.add({"de": 1.0, "en": 0.0}, begin=10.0, end=40.0)

    summary = languages.summary(ENGLISH, multilingual=True)

    assert (summary["language"], summary["language_probability"]) == ("de", 0.75)
    assert summary["notices"] == []
