"""Notices: kept in a row, read in another language, each once."""

from __future__ import annotations

import json

import pytest
from django.utils.translation import override

from transcription.notices import Notice, NoticeCode, appended, shown
from whisperhub.sentences import Sentence

LONG = Notice(
    NoticeCode.AUDIO_MISSING,
    Sentence("The media is longer than the {seconds:g} seconds allowed.", seconds=60.0),
    {"seconds": 60.0},
)
OTHER = Notice(NoticeCode.MODEL, Sentence("The file is empty."))


def test_a_notice_comes_back_from_a_row():
    kept = json.loads(json.dumps(LONG.as_dict()))

    assert Notice.from_dict(kept) == LONG


def test_a_notice_is_shown_in_the_readers_language():
    kept = json.loads(json.dumps(LONG.as_dict()))

    assert shown(kept) == {
        "code": "audio_missing",
        "message": "The media is longer than the 60 seconds allowed.",
        "details": {"seconds": 60.0},
    }
    with override("zh-hans"):
        assert shown(kept)["message"] == "媒体时长超出允许的 60 秒。"


def test_a_code_of_another_release_is_shown_and_not_understood():
    kept = {**LONG.as_dict(), "code": "of_tomorrow"}

    assert shown(kept)["code"] == "of_tomorrow"
    with pytest.raises(ValueError, match="of_tomorrow"):
        Notice.from_dict(kept)


def test_each_notice_is_kept_once_and_in_order():
    kept = appended([], [LONG])

    assert appended(kept, [OTHER, LONG, OTHER]) == [LONG.as_dict(), OTHER.as_dict()]
