"""The table of file types: what it has, what narrows it, and that it is documented."""

from __future__ import annotations

import re

import av
import pytest

import whisperhub.settings
from transcription.media.opening import FORMAT_WHITELIST
from transcription.media.types import (
    ACCEPTED,
    EVERY_TYPE,
    REFUSED,
    AllowedTypes,
    extension_of,
    parse_allowed_types,
    usual_extension,
)

DOC = whisperhub.settings.BASE_DIR / "docs" / "configuration.md"
MOV = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA = "matroska,webm"
# Demuxers that read what a file names: other files, or addresses.
FOLLOWING = {"applehttp", "concat", "dash", "hls", "imf", "rtp", "rtsp", "sap", "sdp"}


def test_no_extension_is_both_accepted_and_refused():
    assert len(ACCEPTED) >= 71
    assert not set(ACCEPTED) & set(REFUSED)


def test_ffmpeg_may_open_what_the_table_has_and_nothing_else():
    named = {name for found in ACCEPTED.values() for name in found.demuxers}

    assert set(FORMAT_WHITELIST.split(",")) == named
    assert not named & FOLLOWING


def test_this_ffmpeg_has_every_demuxer_of_the_table():
    for name in FORMAT_WHITELIST.split(","):
        assert av.ContainerFormat(name, "r").is_input, name


def test_the_document_has_the_same_tables():
    section = DOC.read_text(encoding="utf-8").partition("### File types\n")[2]
    section = section.partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| ") and "`" in line
    ]

    def named(cell: str) -> list[str]:
        return re.findall(r"`([^`]+)`", cell)

    accepted = [
        (extension, kind, tuple(named(demuxers)))
        for kind, extensions, demuxers in (row for row in rows if len(row) == 3)
        for extension in named(extensions)
    ]
    refused = [
        (extension, reason)
        for extensions, reason in (row for row in rows if len(row) == 2)
        for extension in named(extensions)
    ]

    assert accepted == [
        (found.extension, found.kind, found.demuxers) for found in ACCEPTED.values()
    ]
    assert refused == [(name, str(reason)) for name, reason in REFUSED.items()]
    assert f"the {len(ACCEPTED)} extensions" in section


def test_the_readme_has_the_number_of_extensions():
    readme = (whisperhub.settings.BASE_DIR / "README.md").read_text(encoding="utf-8")

    assert f"[{len(ACCEPTED)} file extensions]" in readme


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("talk.mp3", "mp3"),
        ("TALK.MP3 ", "mp3"),
        ("a.tar.gz", "gz"),
        ("old.mp+", "mp+"),
        ("\u5f55\u97f3.M4A", "m4a"),
        ("talk", ""),
        ("talk.", ""),
        (".mp3", ""),
        ("", ""),
    ],
)
def test_the_extension_is_what_follows_the_last_dot(name, extension):
    assert extension_of(name) == extension


def test_words_of_the_operator_may_have_dots_capitals_and_copies():
    assert parse_allowed_types(" .MP3, audio ,,mp3") == AllowedTypes(("mp3", "audio"))
    assert parse_allowed_types("audio,video") == EVERY_TYPE


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("mp3,exe", "'exe' is no file extension"),
        ("sound", "'sound' is no file extension"),
        ("mp3;wav", "'mp3;wav' is no file extension"),
        ("audio,m3u8", "'m3u8' cannot be allowed. It is a playlist"),
        (",", "names no type"),
    ],
)
def test_a_word_that_names_no_accepted_type_is_an_error(raw, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_allowed_types(raw)


@pytest.mark.parametrize(
    ("words", "yes", "no"),
    [
        ("audio,video", ["mp3", "mkv", "webm", "dff"], []),
        ("audio", ["mp3", "m4a", "weba", "ogg"], ["mp4", "webm", "ogv"]),
        ("video", ["mp4", "webm"], ["mp3", "m4a"]),
        ("mp3,wav", ["mp3", "wav"], ["wave", "m4a", "mp4"]),
        ("audio,webm", ["webm", "mp3"], ["mkv"]),
    ],
)
def test_names_are_allowed_by_extension_or_kind(words, yes, no):
    allowed = parse_allowed_types(words)

    assert [name for name in [*yes, *no] if allowed.has_extension(name)] == yes


@pytest.mark.parametrize(
    ("words", "format_name", "has_video", "expected"),
    [
        ("audio,video", "mpegts", True, True),
        ("audio", "mp3", False, True),
        ("audio", MOV, False, True),
        ("audio", MOV, True, False),
        ("audio", "avi", False, False),
        ("video", MOV, True, True),
        # A film without its pictures has the type of a film still.
        ("video", MOV, False, True),
        ("video", "mp3", False, False),
        ("m4a", MOV, False, True),
        ("m4a", MOV, True, False),
        ("mp3", "wav", False, False),
        ("webm", MATROSKA, True, True),
        ("mpc", "mpc8", False, True),
    ],
)
def test_content_is_allowed_if_a_type_of_its_format_is(
    words, format_name, has_video, expected
):
    allowed = parse_allowed_types(words)

    assert allowed.has_content(format_name, has_video=has_video) is expected


@pytest.mark.parametrize(
    ("format_name", "has_video", "extension"),
    [
        (MOV, True, "mp4"),
        (MOV, False, "m4a"),
        (MATROSKA, True, "mkv"),
        ("wav", False, "wav"),
        ("tty", False, "tty"),
    ],
)
def test_content_has_a_usual_extension(format_name, has_video, extension):
    assert usual_extension(format_name, has_video=has_video) == extension
