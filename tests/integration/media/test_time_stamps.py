"""Times are those of a player, and what headers and clocks claim refuses nothing."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.media_files import make_tone, write_audio, write_media
from transcription.audio import SAMPLE_RATE
from transcription.media.decode import decode_to_samples
from transcription.media.facts import DecodedAudio
from transcription.notices import NoticeCode
from transcription.samples import load_samples


def decode(path: Path, **settings: Any) -> tuple[DecodedAudio, Any]:
    settings.setdefault("max_seconds", 600)
    decoded = decode_to_samples(path, path.with_name("samples"), **settings)
    return decoded, load_samples(path.with_name("samples"))


def codes(decoded: DecodedAudio) -> list[NoticeCode]:
    return [notice.code for notice in decoded.notices]


def after(seconds: float, *, jump: float) -> Any:
    return lambda time: time + jump if time >= seconds else time


def damage_middle(path: Path) -> None:
    """Put noise in the place of a fifth of a file."""
    content = bytearray(path.read_bytes())
    first, size = len(content) * 4 // 10, len(content) // 5
    content[first : first + size] = np.random.default_rng(1).bytes(size)
    path.write_bytes(content)


def lateness(samples: Any, expected: Any, *, at: int) -> float:
    """How far half a second of sound lies from its place, in seconds either way."""
    slack = 4000
    own = expected[at : at + 8000].astype(float)
    there = samples[at - slack : at + 8000 + slack].astype(float)
    return abs(int(np.argmax(np.correlate(there, own))) - slack) / SAMPLE_RATE


def test_a_hole_in_time_stamps_is_filled_and_told(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    tone = make_tone(8.0, rate=48_000)
    for container, codec in (
        ("matroska", "libopus"),
        ("webm", "libopus"),
        ("mp4", "aac"),
        ("mpegts", "aac"),
        ("flv", "aac"),
    ):
        with subtests.test(container):
            options: Any = {
                "container": container,
                "audio_codec": codec,
                "rate": 48_000 if container != "flv" else 44_100,
            }
            whole = write_media(tmp_path / "whole", tone, **options)
            path = write_media(
                tmp_path / "holed", tone, shift=after(3.0, jump=20.0), **options
            )

            _, expected = decode(whole)
            expected = np.array(expected)
            decoded, samples = decode(path)

            (hole,) = decoded.holes
            assert hole.start == pytest.approx(3.0, abs=0.1)
            assert hole.seconds == pytest.approx(20.0, abs=0.05)
            start, end = (round(at * SAMPLE_RATE) for at in (hole.start, hole.end))
            assert not samples[start:end].any()
            assert decoded.sample_count == pytest.approx(
                len(expected) + 20 * SAMPLE_RATE, abs=800
            )
            assert lateness(samples[end - start :], expected, at=4 * SAMPLE_RATE) < 0.05
            (notice,) = decoded.notices
            assert notice.code == NoticeCode.AUDIO_MISSING
            assert notice.details["seconds"] == pytest.approx(20.0, abs=0.05)
            (place,) = notice.details["places"]
            assert place["start"] == pytest.approx(3.0, abs=0.1)


def test_a_damaged_middle_keeps_later_times_and_is_told(tmp_path: Path) -> None:
    tone = make_tone(20.0, rate=48_000)
    path = write_audio(tmp_path / "a.m4a", tone, "m4a", rate=48_000)
    _, expected = decode(path)
    expected = np.array(expected)
    damage_middle(path)

    decoded, samples = decode(path)

    assert decoded.undecodable_packets
    assert decoded.sample_count == pytest.approx(len(expected), abs=800)
    assert NoticeCode.AUDIO_MISSING in codes(decoded)
    assert lateness(samples, expected, at=len(expected) - 4 * SAMPLE_RATE) < 0.05


def test_damage_that_no_time_stamp_shows_is_told_as_well(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a", make_tone(20.0), "aac")
    damage_middle(path)

    decoded, _ = decode(path)

    assert decoded.undecodable_packets
    assert NoticeCode.AUDIO_DAMAGED in codes(decoded)


@pytest.mark.parametrize("jump", [1500.0, 90_000.0])
def test_a_jump_before_the_first_sound_is_no_lead_in(
    tmp_path: Path, jump: float
) -> None:
    path = write_media(
        tmp_path / "a.ts",
        make_tone(4.0, rate=48_000),
        container="mpegts",
        rate=48_000,
        video_codec="mpeg2video",
        video_seconds=5.0,
        audio_offset_seconds=1.0,
        shift=after(0.9, jump=jump),
    )

    decoded, _ = decode(path)

    assert decoded.lead_in_seconds == 0
    assert decoded.duration_seconds == pytest.approx(4.0, abs=0.1)
    assert codes(decoded) == [NoticeCode.CLOCK_JUMPS]


@pytest.mark.parametrize("jump", [7200.0, 90_435.0])
def test_a_clock_that_jumps_later_refuses_and_moves_nothing(
    tmp_path: Path, jump: float
) -> None:
    path = write_media(
        tmp_path / "a.mkv",
        make_tone(8.0),
        container="matroska",
        shift=after(3.0, jump=jump),
    )

    decoded, _ = decode(path)

    assert decoded.facts.duration_seconds
    assert decoded.facts.duration_seconds > jump
    assert decoded.duration_seconds == pytest.approx(8.0, abs=0.2)
    (notice,) = decoded.notices
    assert notice.code == NoticeCode.CLOCK_JUMPS
    assert notice.details["places"][0]["start"] == pytest.approx(3.0, abs=0.2)


def test_a_stated_duration_refuses_nothing(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.flv", make_tone(4.0, rate=44_100), container="flv", rate=44_100
    )
    content = path.read_bytes()
    key = b"duration\0"
    at = content.index(key) + len(key)
    path.write_bytes(content[:at] + struct.pack(">d", 360_000.0) + content[at + 8 :])

    decoded, _ = decode(path)

    assert decoded.facts.duration_seconds == 360_000
    assert decoded.duration_seconds == pytest.approx(4.0, abs=0.1)
    assert decoded.notices == []


def test_a_picture_far_behind_the_sound_refuses_nothing(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mp4",
        make_tone(4.0, rate=48_000),
        container="mp4",
        rate=48_000,
        video_codec="mpeg4",
        video_seconds=6.0,
        shift=after(5.5, jump=108_000.0),
    )

    decoded, _ = decode(path)

    assert decoded.facts.duration_seconds
    assert decoded.facts.duration_seconds > 100_000
    assert decoded.duration_seconds == pytest.approx(4.0, abs=0.1)
    assert decoded.notices == []


def test_holes_make_no_media_longer_than_allowed(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mkv",
        make_tone(8.0),
        container="matroska",
        shift=after(3.0, jump=300.0),
    )

    decoded, _ = decode(path, max_seconds=60)

    assert decoded.duration_seconds == pytest.approx(8.0, abs=0.2)
    assert codes(decoded) == [NoticeCode.CLOCK_JUMPS]


def test_silence_in_a_hole_takes_no_room_on_the_disk(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mkv",
        make_tone(4.0),
        container="matroska",
        shift=after(2.0, jump=500.0),
    )

    decoded, _ = decode(path)

    assert decoded.duration_seconds == pytest.approx(504, abs=0.2)
    assert (tmp_path / "samples").stat().st_blocks * 512 < 2**20
