"""Sentences that are made in one process and read in another language."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from django.utils.translation import override

from transcription.errors import (
    EngineError,
    FetchError,
    UnsupportedOptionError,
    UpstreamError,
)
from whisperhub.sentences import Sentence, parts_of, translated

LONG = Sentence(
    "The media is longer than the {seconds:g} seconds allowed.", seconds=60.0
)


def in_chinese(sentence: str) -> str:
    with override("zh-hans"):
        return translated(sentence)


def test_a_sentence_is_its_english_text():
    assert LONG == "The media is longer than the 60 seconds allowed."
    assert f"{LONG}" == str(LONG)


def test_a_sentence_is_said_in_another_language_with_its_values():
    assert in_chinese(LONG) == "媒体时长超出允许的 60 秒。"
    assert translated(LONG) == LONG


def test_a_sentence_comes_back_from_a_row():
    stored = str(LONG), json.loads(json.dumps(parts_of(LONG)))

    assert in_chinese(Sentence.read(*stored)) == "媒体时长超出允许的 60 秒。"


def test_a_sentence_within_a_sentence_comes_back_as_well():
    message = UpstreamError(503).message
    parts = json.loads(json.dumps(parts_of(message)))

    assert message == (
        "The server of the link failed. Try again later. Its server answered 503."
    )
    assert in_chinese(Sentence.read(str(message), parts)) == (
        "链接所在的服务器出错。请稍后重试。该服务器返回了 503。"
    )


def test_a_sentence_without_values_needs_no_parts():
    message = FetchError().message

    assert parts_of(message) is None
    assert in_chinese(Sentence.read(str(message), None)).startswith("无法连接")


@pytest.mark.parametrize(
    "parts",
    [
        None,
        {},
        [],
        "text",
        {"pattern": 1, "values": {}},
        {"pattern": "{a}", "values": {}},
        {"pattern": "{a}", "values": {"b": 1}},
        {"pattern": "{", "values": {"a": 1}},
        {"pattern": "{a.b}", "values": {"a": 1}},
        {"pattern": "{cls}", "values": {"cls": 1}},
        {"pattern": "Another {n}.", "values": {"n": 1}},
        {"pattern": "{a}", "values": {"a": {"pattern": "x"}}},
    ],
    ids=repr,
)
def test_parts_that_do_not_make_the_text_are_not_believed(parts):
    read = Sentence.read("The engine {x} has no option %s.", parts)

    assert read == "The engine {x} has no option %s."
    assert in_chinese(read) == read


def test_a_value_is_never_taken_for_a_pattern():
    message = EngineError(
        Sentence("The engine failed on this audio ({reason}).", reason="{0}%s")
    )

    assert message.message == "The engine failed on this audio ({0}%s)."
    assert "（{0}%s）" in in_chinese(message.message)


def test_an_error_says_its_values_in_each_language():
    error = UnsupportedOptionError("openai-whisper", ["hotwords", "vad_filter"])

    assert (
        error.message == "The engine openai-whisper has no option hotwords, vad_filter."
    )
    assert (
        in_chinese(error.message)
        == "引擎 openai-whisper 不支持选项 hotwords, vad_filter。"
    )


def test_a_sentence_survives_copies_and_pickles():
    for copied in (copy.deepcopy(LONG), pickle.loads(pickle.dumps(LONG))):  # noqa: S301
        assert copied == LONG
        assert copied.parts == LONG.parts


def test_an_unknown_text_is_left_as_it_is():
    assert in_chinese("Nobody knows this.") == "Nobody knows this."
    assert in_chinese("") == ""
