"""Which language a request is answered in."""

from __future__ import annotations

import pytest

from whisperhub.web.languages import choose_language, language_of_scope

ZH = "zh-hans"


@pytest.mark.parametrize(
    "tag",
    ["zh-hans", "zh-Hans", "zh", "ZH", "zh-CN", "zh_CN", "zh_Hans", "zh-SG", "zh-TW"],
)
def test_all_tags_of_chinese_mean_ours(tag):
    assert choose_language(tag, None, "") == ZH
    assert choose_language(None, None, tag.replace("_", "-")) == ZH


@pytest.mark.parametrize(
    "tag", ["", "fr", "x" * 600, "../../etc", "zh hans", "\0", "*", "en'--", "中文"]
)
def test_what_is_no_language_of_ours_is_passed_over(tag):
    assert choose_language(tag, None, "") == "en"
    assert choose_language(tag, None, "zh") == ZH
    assert choose_language(None, tag, "") == "en"


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "chosen"),
    [
        (None, None, "", "en"),
        ("en", "zh-hans", "zh-CN", "en"),
        ("zh", "en", "en", ZH),
        (None, "zh-hans", "en", ZH),
        (None, None, "zh-CN,zh;q=0.9,en;q=0.8", ZH),
        (None, None, "en-GB,zh;q=0.9", "en"),
        (None, None, "fr,zh;q=0.5,en;q=0.1", ZH),
        (None, None, "zh;q=0,fr", "en"),
        (None, None, "not; a = header,,", "en"),
    ],
)
def test_the_parameter_then_the_cookie_then_the_header(asked, kept, accepted, chosen):
    assert choose_language(asked, kept, accepted) == chosen


@pytest.mark.parametrize(
    ("query", "headers", "chosen"),
    [
        (b"lang=zh-CN", {}, ZH),
        (b"lang=en&x=1", {b"accept-language": b"zh"}, "en"),
        (b"lang=%ff%00", {b"accept-language": b"zh"}, ZH),
        (b"", {b"cookie": b"a=b; django_language=zh-hans"}, ZH),
        (b"", {b"cookie": b"\xff;;=;"}, "en"),
        (b"", {}, "en"),
    ],
)
def test_a_request_that_django_has_not_seen(query, headers, chosen):
    scope = {"query_string": query, "headers": list(headers.items())}

    assert language_of_scope(scope) == chosen
