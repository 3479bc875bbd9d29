"""What a job says of the languages of its chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest

from transcription.engines.base import LanguageDetection
from transcription.engines.chunk_languages import (
    MOST_PLACES,
    ChunkLanguages,
    HeardLanguage,
    is_mixed,
    parts_of,
)
from transcription.engines.speech import Span
from transcription.notices import NoticeCode

ENGLISH = LanguageDetection("en", 0.9, {"en": 0.9, "de": 0.1})


def test_chunks_of_another_language_are_noticed():
    languages = ChunkLanguages("en")
    languages.add([HeardLanguage(0.0, 20.0, {"en": 0.9, "de": 0.1})])
    languages.add([HeardLanguage(20.0, 40.0, {"de": 0.95, "en": 0.05})])
    languages.add([HeardLanguage(40.0, 50.0, {"fr": 0.85, "en": 0.15})])

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
    "heard",
    [
        [],
        [HeardLanguage(0.0, 20.0, {"en": 0.9, "de": 0.1})],
        [HeardLanguage(0.0, 20.0, {"de": 0.7, "en": 0.3})],
    ],
    ids=["not looked at", "the same", "not sure"],
)
def test_nothing_is_noticed_without_a_reason(heard):
    languages = ChunkLanguages("en")

    languages.add(heard)

    assert languages.summary(ENGLISH, multilingual=False)["notices"] == []


def test_a_notice_names_some_places_and_counts_all():
    languages = ChunkLanguages("en")
    for number in range(50):
        heard = HeardLanguage(float(number), number + 1.0, {"de": 1.0})
        languages.add([heard])

    (notice,) = languages.summary(ENGLISH, multilingual=False)["notices"]

    assert notice.details["count"] == 50
    assert len(notice.details["places"]) == MOST_PLACES


def test_a_multilingual_job_has_the_language_that_is_spoken_most():
    languages = ChunkLanguages("en")
    languages.add([HeardLanguage(0.0, 10.0, {"en": 1.0, "de": 0.0})])
    languages.add([HeardLanguage(10.0, 40.0, {"de": 1.0, "en": 0.0})])

    summary = languages.summary(ENGLISH, multilingual=True)

    assert (summary["language"], summary["language_probability"]) == ("de", 0.75)
    assert summary["notices"] == []


@pytest.mark.parametrize(
    ("end", "probabilities", "mixed"),
    [
        (20.0, {"en": 0.62, "fr": 0.2, "de": 0.16}, True),
        (20.0, {"fr": 0.95, "en": 0.05}, True),
        (20.0, {"en": 0.9, "fr": 0.1}, False),
        # Too short for parts.
        (6.0, {"en": 0.62, "fr": 0.2, "de": 0.16}, False),
    ],
)
def test_a_long_chunk_that_is_not_sure_of_its_language_may_be_mixed(
    end, probabilities, mixed
):
    assert is_mixed(HeardLanguage(0.0, end, probabilities), "en") is mixed


def test_parts_cover_a_chunk_and_are_of_one_length():
    parts = parts_of(Span(100_000, 100_000 + 30 * 16_000))

    assert (parts[0].start, parts[-1].end) == (100_000, 580_000)
    assert [part.seconds for part in parts] == [6.0] * 5
    assert all(one.end == other.start for one, other in pairwise(parts))
