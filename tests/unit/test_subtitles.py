"""SubRip and WebVTT."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.media.subtitles import (
    Cue,
    readable,
    render_srt,
    render_vtt,
    timestamp,
)

TIME = re.compile(r"(\d{2,}):(\d\d):(\d\d)[.,](\d{3})")
SECONDS = st.floats(min_value=0, max_value=400_000, allow_nan=False)


@st.composite
def cues(draw) -> list[Cue]:
    """Cues in order, with any text."""
    times = sorted(draw(st.lists(SECONDS, max_size=8)))
    return [
        Cue(start, end, draw(st.text()))
        for start, end in zip(times[::2], times[1::2], strict=False)
    ]


def read_back(text: str) -> float:
    found = TIME.fullmatch(text)
    assert found, text
    hours, minutes, seconds, milliseconds = map(int, found.groups())
    assert minutes <= 59
    assert seconds <= 59
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00,000"),
        (0.0004, "00:00:00,000"),
        (1.5, "00:00:01,500"),
        (59.9996, "00:01:00,000"),
        (3599.9999, "01:00:00,000"),
        (86_400, "24:00:00,000"),
        (400_000, "111:06:40,000"),
        (-0.02, "00:00:00,000"),
    ],
)
def test_timestamps(seconds, text):
    assert timestamp(seconds, mark=",") == text


@given(SECONDS)
def test_timestamps_read_back(seconds):
    assert read_back(timestamp(seconds, mark=".")) == pytest.approx(
        seconds, abs=0.000_51
    )


@given(SECONDS, SECONDS)
def test_timestamps_keep_the_order(first, second):
    first, second = sorted([first, second])

    assert read_back(timestamp(first, mark=",")) <= read_back(
        timestamp(second, mark=",")
    )


def test_srt():
    text = render_srt([Cue(0, 1.5, " Hello."), Cue(1.5, 3, "Two\nlines")])

    assert text == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n"
        "2\n00:00:01,500 --> 00:00:03,000\nTwo\nlines\n\n"
    )


def test_vtt():
    text = render_vtt([Cue(0, 1.5, " Hello.")])

    assert text == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello.\n\n"


def test_no_cues():
    assert render_srt([]) == ""
    assert render_vtt([]) == "WEBVTT\n\n"


def test_markup_and_arrows_are_escaped_in_vtt():
    text = render_vtt([Cue(0, 1, "<b>Tom & Jerry</b> --> &amp;")])

    assert "&lt;b&gt;Tom &amp; Jerry&lt;/b&gt; --&gt; &amp;amp;" in text
    assert text.count("-->") == 1


@pytest.mark.parametrize("text", ["a\n\nb", "a\n \t\nb", "\n\na\nb\n\n", "a\r\n\r\nb"])
def test_empty_lines_inside_a_text_go(text):
    assert render_srt([Cue(0, 1, text)]).split("\n")[2:] == ["a", "b", "", ""]


@given(cues())
def test_srt_reads_back(given_cues):
    blocks = render_srt(given_cues).split("\n\n")

    assert not blocks.pop().strip()
    assert len(blocks) == len(given_cues)
    for number, (block, cue) in enumerate(
        zip(blocks, given_cues, strict=True), start=1
    ):
        head, times, *lines = block.strip("\n").split("\n")
        start, end = times.split(" --> ")
        assert head == str(number)
        assert read_back(start) <= read_back(end)
        assert all(line.strip() for line in lines)
        assert "".join("".join(lines).split()) == "".join(cue.text.split())


@given(cues())
def test_vtt_reads_back(given_cues):
    head, *blocks, last = render_vtt(given_cues).split("\n\n")

    assert head == "WEBVTT"
    assert not last.strip()
    assert len(blocks) == len(given_cues)
    for block, cue in zip(blocks, given_cues, strict=True):
        times, *lines = block.strip("\n").split("\n")
        start, end = times.split(" --> ")
        assert read_back(start) <= read_back(end)
        assert not any("<" in line or "-->" in line for line in lines)
        assert "".join(html.unescape("".join(lines)).split()) == "".join(
            cue.text.split()
        )


any_cues = st.lists(
    st.builds(
        Cue,
        st.floats(-1, 100, allow_nan=False),
        st.floats(-1, 100, allow_nan=False),
        st.text("ab ", min_size=1),
    )
)


@given(any_cues)
def test_readable_cues_follow_each_other_and_keep_every_word(given_cues):
    shown = readable(given_cues)

    ends = [cue.end for cue in shown]
    assert all(0 <= cue.start <= cue.end for cue in shown)
    assert all(end <= cue.start for end, cue in zip(ends[:-1], shown[1:], strict=True))
    # A single cue may have no time at all.
    assert len(shown) < 2 or all(
        round(cue.start * 1000) < round(cue.end * 1000) for cue in shown
    )
    assert "".join("".join(cue.text.split()) for cue in shown) == "".join(
        "".join(cue.text.split()) for cue in given_cues
    )


@given(cues())
def test_cues_that_are_apart_and_have_length_are_shown_as_they_are(given_cues):
    apart = [cue for cue in given_cues if cue.end - cue.start > 0.01]

    assert readable(apart) == apart


def test_overlapping_cues_are_moved_apart():
    assert readable([Cue(22.0, 30.0, "one"), Cue(29.9, 32.9, "two")]) == [
        Cue(22.0, 30.0, "one"),
        Cue(30.0, 32.9, "two"),
    ]


def test_a_cue_without_time_of_its_own_joins_its_neighbour():
    joined = [Cue(0, 2, "one\ntwo")]

    assert readable([Cue(0, 2, "one "), Cue(2, 2, " two")]) == joined
    assert readable([Cue(0, 0, "one"), Cue(0, 2, "two")]) == joined
    assert readable([Cue(0, 2, "one"), Cue(1, 1.5, "two")]) == joined
