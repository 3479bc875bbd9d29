"""How people name languages, and which of Whisper's codes they mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.engines.languages import (
    LANGUAGE_CODES,
    LANGUAGE_PATTERN,
    language_code,
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("English", "en"),
        ("en-GB", "en"),
        ("en_US", "en"),
        ("eng", "en"),
        ("zh", "zh"),
        ("zh-Hans", "zh"),
        ("zh-Hant-TW", "zh"),
        ("cmn-Hans-CN", "zh"),
        ("Mandarin", "zh"),
        ("zh-yue", "yue"),
        ("yue-HK", "yue"),
        ("Cantonese", "yue"),
        ("pt-BR", "pt"),
        ("es-419", "es"),
        ("Castilian", "es"),
        ("nl-BE", "nl"),
        ("flemish", "nl"),
        ("nb", "no"),
        ("nb-NO", "no"),
        ("nn-NO", "nn"),
        ("he", "he"),
        ("iw", "he"),
        ("id", "id"),
        ("in", "id"),
        ("jv", "jw"),
        ("jw", "jw"),
        ("fil", "tl"),
        ("tl", "tl"),
        ("ji", "yi"),
        ("de-CH-1996", "de"),
        ("fre", "fr"),
        ("fra", "fr"),
        ("  fr  ", "fr"),
        ("sr-Latn-RS", "sr"),
        ("haitian   creole", "ht"),
    ],
)
def test_names_and_tags_mean_codes(text, code):
    assert language_code(text) == code


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "auto", "klingon", "x-en", "en-", "-en", "en--GB", "e", "e n"),
        *("en,fr", "français", "中文", "en\x00", "wuu", "tlh", "engl", "en-123456789"),
    ],
)
def test_what_whisper_does_not_know_is_no_language(text):
    assert language_code(text) is None


@given(st.sampled_from(LANGUAGE_CODES), st.sampled_from([str.upper, str.title, str]))
def test_every_code_means_itself_in_any_case(code, change):
    assert language_code(change(code)) == code


def test_every_name_and_alias_of_whisper_is_understood():
    whisper = pytest.importorskip("whisper.tokenizer")

    for name, code in whisper.TO_LANGUAGE_CODE.items():
        assert language_code(name) == code


@given(st.from_regex(LANGUAGE_PATTERN, fullmatch=True))
def test_all_that_the_document_allows_is_understood(text):
    assert language_code(text) in LANGUAGE_CODES


@given(st.text(max_size=20))
def test_any_text_is_a_code_or_nothing(text):
    code = language_code(text)

    assert code is None or code in LANGUAGE_CODES


@pytest.mark.parametrize("code", LANGUAGE_CODES)
def test_the_document_allows_every_code(code):
    assert re.fullmatch(LANGUAGE_PATTERN, code)
