"""Files that end too early, or are something else: told by their own bytes."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.support.media_files import AUDIO_KINDS, make_tone, write_audio, write_media
from transcription.errors import IncompleteMediaError, InvalidMediaError, WebPageError
from transcription.media.decode import decode_to_samples
from transcription.media.probe import probe_media
from transcription.notices import NoticeCode


def codes(path: Path) -> list[NoticeCode]:
    decoded = decode_to_samples(path, path.with_name("samples"), max_seconds=60)
    return [notice.code for notice in decoded.notices]


def write_kind(path: Path, kind: str) -> Path:
    rate = 48_000 if kind in {"ogg", "webm"} else 44_100
    tone = make_tone(20.0, rate=rate)
    if kind == "avi":
        return write_media(
            path, tone, container="avi", audio_codec="libmp3lame", rate=rate
        )
    return write_audio(path, tone, kind, rate=rate)


@pytest.mark.parametrize("kind", [*AUDIO_KINDS, "avi"])
def test_a_whole_file_is_not_called_cut(tmp_path: Path, kind: str) -> None:
    assert codes(write_kind(tmp_path / "a", kind)) == []


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mka", "avi"])
@pytest.mark.parametrize("share", [0.4, 0.71])
def test_a_file_cut_short_is_told(tmp_path: Path, kind: str, share: float) -> None:
    path = write_kind(tmp_path / "a", kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    notice = decoded.notices[0]
    assert notice.code == NoticeCode.MEDIA_TRUNCATED
    assert notice.details["end"] == pytest.approx(decoded.duration_seconds, abs=0.01)
    assert 5 < decoded.duration_seconds < 18


def test_an_mp4_file_cut_behind_its_index_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(
        str(path), "w", format="mp4", options={"movflags": "faststart"}
    ) as output:
        stream = output.add_stream("aac", rate=48_000, layout="mono")
        tone = make_tone(20.0, rate=48_000)
        for start in range(0, len(tone), 1024):
            block = tone[start : start + 1024].T.copy()
            frame = av.AudioFrame.from_ndarray(block, "s16", "mono")
            frame.sample_rate, frame.pts = 48_000, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])

    assert NoticeCode.MEDIA_TRUNCATED in codes(path)


def test_a_recording_without_its_index_is_named(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.m4a", make_tone(5.0), "m4a")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])

    with pytest.raises(IncompleteMediaError, match="has no index") as refused:
        probe_media(path)

    assert refused.value.code == "media_incomplete"


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html>\n<html><body>Sign in</body></html>",
        "\ufeff  <!-- hello -->\n<html lang='en'>",
        '<?xml version="1.0"?>\n<!doctype HTML ><html>',
    ],
)
def test_a_web_page_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "talk.mp3"
    path.write_text(text * 200, encoding="utf-8")

    with pytest.raises(WebPageError, match="is a web page") as refused:
        probe_media(path)

    assert refused.value.code == "html_file"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"#EXTM3U\n#EXT-X-VERSION:3\na.ts\n", "is a playlist"),
        (b"\xef\xbb\xbf#EXTM3U\r\na.mp3\r\n", "is a playlist"),
        (b"[playlist]\nFile1=a.mp3\n", "is a playlist"),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg">', "is a playlist"),
        (b"ffconcat version 1.0\nfile a.wav\n", "is a playlist"),
        (b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0", "is MIDI"),
    ],
    ids=["hls", "m3u", "pls", "dash", "ffconcat", "midi"],
)
def test_a_file_without_sound_of_its_own_is_named(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(content)

    with pytest.raises(InvalidMediaError, match=told) as refused:
        probe_media(path)

    assert refused.value.code == "invalid_media"


@pytest.mark.parametrize("text", ["<htmlx>", "text <html>", "<svg>", "{}"])
def test_other_text_is_no_web_page(tmp_path: Path, text: str) -> None:
    path = tmp_path / "talk.mp3"
    path.write_text(text * 200)

    with pytest.raises(InvalidMediaError) as refused:
        probe_media(path)

    assert refused.value.code == "invalid_media"
