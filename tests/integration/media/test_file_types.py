"""Each accepted file type decodes by its content, and is allowed or refused by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.media_files import (
    make_tone,
    write_dff,
    write_dsf,
    write_gsm,
    write_media,
    write_rf64,
)
from transcription.errors import InvalidMediaError, TypeNotAllowedError
from transcription.media.decode import decode_to_samples
from transcription.media.decoder import Decoder
from transcription.media.limits import Limits
from transcription.media.types import ACCEPTED, AllowedTypes
from whisperhub.sentences import Sentence

SECONDS = 0.4
PAL: dict[str, Any] = {"video_size": (720, 576), "video_rate": 25}

# Container, codec, rate of the samples, and the extensions of such files.
SOUND = [
    ("adts", "aac", 16_000, "aac adts"),
    ("ac3", "ac3", 48_000, "ac3"),
    ("aiff", "pcm_s16be", 16_000, "aiff aif aifc"),
    ("amr", "libopencore_amrnb", 8_000, "amr"),
    ("asf", "libmp3lame", 16_000, "wma"),
    ("au", "pcm_s16be", 16_000, "au snd"),
    ("caf", "pcm_s16le", 16_000, "caf"),
    ("eac3", "eac3", 48_000, "eac3 ec3"),
    ("f4v", "aac", 16_000, "f4a f4b"),
    ("flac", "flac", 16_000, "flac"),
    ("ipod", "aac", 16_000, "m4a m4b m4r"),
    ("ismv", "aac", 16_000, "isma"),
    ("matroska", "flac", 16_000, "mka"),
    ("mp2", "mp2", 16_000, "mp2 mpa m2a"),
    ("mp3", "libmp3lame", 16_000, "mp3 mpga"),
    ("oga", "flac", 16_000, "oga"),
    ("ogg", "libopus", 48_000, "ogg opus"),
    ("rm", "ac3", 48_000, "rm rmvb"),
    ("rm", "real_144", 8_000, "ra"),
    ("tta", "tta", 16_000, "tta"),
    ("voc", "pcm_u8", 16_000, "voc"),
    ("w64", "pcm_s16le", 16_000, "w64"),
    ("wav", "pcm_s16le", 16_000, "wav wave bwf"),
    ("webm", "libopus", 48_000, "weba"),
    ("wv", "wavpack", 16_000, "wv"),
]
# The same, with the codec of the pictures.
FILMS = [
    ("3g2", "aac", 16_000, "mpeg4", "3g2 3gpp2"),
    ("3gp", "libopencore_amrnb", 8_000, "mpeg4", "3gp 3gpp"),
    ("asf", "libmp3lame", 16_000, "mpeg4", "asf wmv"),
    ("avi", "libmp3lame", 16_000, "mpeg4", "avi divx xvid"),
    ("f4v", "aac", 16_000, "libx264", "f4v"),
    ("flv", "libmp3lame", 44_100, "flv1", "flv"),
    ("ismv", "aac", 16_000, "libx264", "ismv"),
    ("matroska", "flac", 16_000, "mpeg4", "mkv mk3d"),
    ("mov", "pcm_s16le", 16_000, "mpeg4", "mov qt"),
    ("mp4", "aac", 16_000, "mpeg4", "mp4 m4v"),
    ("mpegts", "mp2", 16_000, "mpeg2video", "ts mts m2ts m2t"),
    ("nut", "pcm_s16le", 16_000, "mpeg4", "nut"),
    ("ogv", "libopus", 48_000, "libvpx", "ogv ogm ogx"),
    ("vob", "mp2", 48_000, "mpeg2video", "mpg mpeg mpe m2p vob"),
    ("webm", "libopus", 48_000, "libvpx", "webm"),
]
# The same, of television: it has one size of pictures, and stereo on tape.
BROADCAST = [
    ("dv", "pcm_s16le", 2, "dvvideo", "dv dif"),
    ("gxf", "pcm_s16le", 1, "mpeg2video", "gxf"),
    ("mxf", "pcm_s16le", 1, "mpeg2video", "mxf"),
]
# Written byte by byte: FFmpeg has no encoder for them.
BY_HAND: dict[str, Callable[[Path], Path]] = {
    "dff": partial(write_dff, seconds=SECONDS),
    "dsf": partial(write_dsf, seconds=SECONDS),
    # FFmpeg recognises no shorter one.
    "gsm": partial(write_gsm, seconds=1.0),
    "rf64": lambda path: write_rf64(path, make_tone(SECONDS)),
}
# This FFmpeg encodes none of these, and they are too complex to write by hand.
NOT_WRITTEN = {"amv", "ape", "awb", "dts", "mp+", "mp1", "mpc", "mpp", "spx", "tak"}


def _makers() -> Iterator[tuple[str, Callable[[Path], Path]]]:
    def maker(container: str, codec: str, rate: int, channels: int, **more: Any):
        return lambda path: write_media(
            path,
            make_tone(SECONDS, rate=rate, channels=channels),
            container=container,
            audio_codec=codec,
            rate=rate,
            video_seconds=SECONDS,
            **more,
        )

    for container, codec, rate, extensions in SOUND:
        for extension in extensions.split():
            yield extension, maker(container, codec, rate, 1)
    for container, codec, rate, video_codec, extensions in FILMS:
        for extension in extensions.split():
            yield extension, maker(container, codec, rate, 1, video_codec=video_codec)
    for container, codec, channels, video_codec, extensions in BROADCAST:
        for extension in extensions.split():
            yield (
                extension,
                maker(
                    container, codec, 48_000, channels, video_codec=video_codec, **PAL
                ),
            )
    yield from BY_HAND.items()


MAKERS = dict(_makers())


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    made = Decoder()
    yield made
    made.close()


def test_each_accepted_extension_is_tried_or_named_as_not_written():
    assert {*MAKERS, *NOT_WRITTEN} == set(ACCEPTED)
    assert not NOT_WRITTEN & set(MAKERS)


@pytest.mark.parametrize("extension", MAKERS)
def test_a_file_of_the_type_decodes_without_its_name(tmp_path, extension):
    # As the service stores it.
    path = MAKERS[extension](tmp_path / "original")

    # With no other type allowed.
    decoded = decode_to_samples(
        path, tmp_path / "samples", max_seconds=9, allowed=AllowedTypes((extension,))
    )

    # Codecs leave out, or add, some frames of padding.
    assert SECONDS - 0.07 <= decoded.duration_seconds <= 1.0
    names = set(decoded.facts.format_name.split(","))
    assert names & set(ACCEPTED[extension].demuxers)


@pytest.mark.parametrize(
    ("extension", "allowed", "said"),
    [
        ("wav", ("mp3", "m4a"), ".wav"),
        ("mp4", ("audio",), ".mp4"),
        ("mkv", ("audio", "mp4"), ".mkv"),
        ("mp3", ("video",), ".mp3"),
    ],
)
def test_content_of_another_type_is_refused_in_the_decoder_process(
    decoder, tmp_path, extension, allowed, said
):
    path = MAKERS[extension](tmp_path / "original")

    with pytest.raises(TypeNotAllowedError) as caught:
        decoder.decode(
            path,
            tmp_path / "samples",
            max_seconds=9,
            limits=Limits(),
            allowed=AllowedTypes(allowed),
        )

    message = caught.value.message
    assert isinstance(message, Sentence)
    assert f"of the type {said}," in message
    assert f"It accepts: {', '.join(allowed)}." in message
    assert not (tmp_path / "samples").exists()


def test_the_type_is_judged_before_the_tracks(tmp_path):
    silent = write_media(tmp_path / "a", None, container="mp4", video_codec="mpeg4")

    with pytest.raises(TypeNotAllowedError):
        decode_to_samples(
            silent, tmp_path / "b", max_seconds=9, allowed=AllowedTypes(("audio",))
        )


@pytest.mark.parametrize("container", ["wtv", "swf"])
def test_formats_of_refused_extensions_are_not_opened(tmp_path, container):
    path = write_media(
        tmp_path / "a",
        make_tone(0.3, rate=44_100),
        container=container,
        audio_codec="libmp3lame",
        rate=44_100,
    )

    with pytest.raises(InvalidMediaError):
        decode_to_samples(path, tmp_path / "b", max_seconds=9)
