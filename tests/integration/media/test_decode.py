"""Ordinary media become the samples that faster-whisper itself would make of them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from faster_whisper import decode_audio

from tests.support.media_files import (
    AUDIO_KINDS,
    make_tone,
    write_audio,
    write_media,
    write_wav,
)
from transcription.audio import SAMPLE_RATE
from transcription.errors import (
    InvalidMediaError,
    MediaError,
    MediaTooLongError,
    NoAudioError,
    TaskCancelledError,
)
from transcription.media.decode import decode_to_samples
from transcription.media.probe import probe_media
from transcription.samples import load_samples


def assert_decodes_like_the_library(path: Path, *, seconds: float) -> None:
    destination = path.with_name("samples")

    decoded = decode_to_samples(path, destination, max_seconds=600)

    samples = load_samples(destination)
    assert samples.shape == (decoded.sample_count,)
    assert decoded.duration_seconds == pytest.approx(seconds, abs=0.1)
    assert decoded.lead_in_seconds == 0
    assert decoded.undecodable_packets == 0
    expected = decode_audio(str(path))
    assert np.array_equal(samples.astype(np.float32) / 32768.0, expected)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", AUDIO_KINDS)
def test_samples_are_those_of_the_library(
    tmp_path: Path, kind: str, channels: int
) -> None:
    rate = 48_000 if kind in {"ogg", "webm"} else 44_100
    tone = make_tone(2.0, rate=rate, channels=channels)
    path = write_audio(tmp_path / f"a.{kind}", tone, kind, rate=rate)

    assert_decodes_like_the_library(path, seconds=2.0)


@pytest.mark.parametrize(
    ("rate", "channels"),
    [(8_000, 1), (16_000, 1), (22_050, 2), (48_000, 6), (96_000, 2)],
)
def test_any_rate_and_layout_is_converted(
    tmp_path: Path, rate: int, channels: int
) -> None:
    path = write_wav(
        tmp_path / "a.wav", make_tone(6.0, rate=rate, channels=channels), rate=rate
    )

    assert_decodes_like_the_library(path, seconds=6.0)


@pytest.mark.parametrize("channels", [6, 8])
def test_surround_sound_in_a_film(tmp_path: Path, channels: int) -> None:
    path = write_media(
        tmp_path / "film.mp4",
        make_tone(2.0, rate=48_000, channels=channels),
        container="mp4",
        rate=48_000,
        video_codec="libx264",
        video_seconds=2.0,
    )

    assert_decodes_like_the_library(path, seconds=2.0)
    assert probe_media(path).channels == channels


@pytest.mark.parametrize(
    ("container", "video_codec", "audio_codec"),
    [
        ("mp4", "libx264", "aac"),
        ("matroska", "libx264", "aac"),
        ("webm", "libvpx", "libopus"),
        ("mpegts", "libx264", "aac"),
        ("avi", "mpeg4", "libmp3lame"),
    ],
)
def test_video_with_sound(
    tmp_path: Path, container: str, video_codec: str, audio_codec: str
) -> None:
    path = write_media(
        tmp_path / "video",
        make_tone(2.0, rate=48_000),
        container=container,
        audio_codec=audio_codec,
        rate=48_000,
        video_codec=video_codec,
        video_seconds=2.0,
    )

    assert_decodes_like_the_library(path, seconds=2.0)
    assert probe_media(path).has_video


def test_raw_samples_are_16_bit_little_endian_without_header(tmp_path: Path) -> None:
    tone = make_tone(1.0)
    path = write_wav(tmp_path / "a.wav", tone)

    decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert (tmp_path / "samples").read_bytes() == tone.astype("<i2").tobytes()


def test_fifty_milliseconds_are_enough(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(0.05))

    assert_decodes_like_the_library(path, seconds=0.05)


def test_probe_says_what_the_headers_say(tmp_path: Path) -> None:
    path = write_audio(
        tmp_path / "a", make_tone(2.0, rate=44_100, channels=2), "m4a", rate=44_100
    )

    facts = probe_media(path)

    assert "mp4" in facts.format_name
    assert facts.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert not facts.has_video
    assert facts.audio_streams == 1
    assert facts.audio_codec == "aac"
    assert facts.sample_rate == 44_100
    assert facts.channels == 2
    assert facts.bit_rate
    assert facts.bit_rate > 10_000


def test_audio_that_starts_late_keeps_the_times_of_the_video(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    tone = make_tone(2.0)
    for container in ("mp4", "matroska", "mpegts"):
        with subtests.test(container):
            path = write_media(
                tmp_path / container,
                tone,
                container=container,
                video_codec="libx264",
                video_seconds=4.0,
                audio_offset_seconds=1.5,
            )

            decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=60)

            samples = load_samples(tmp_path / "samples")
            # AAC begins with 64 ms of priming, which some containers keep.
            assert decoded.lead_in_seconds == pytest.approx(1.5, abs=0.07)
            start = round(decoded.lead_in_seconds * SAMPLE_RATE)
            assert not samples[:start].any()
            heard = samples[start:].astype(np.float32) / 32768.0
            assert np.array_equal(heard, decode_audio(str(path)))
            late = int(np.argmax(np.abs(samples) > 1000))
            assert late / SAMPLE_RATE == pytest.approx(1.5, abs=0.01)


def test_late_audio_without_a_video_starts_at_once(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mp4", make_tone(1.0), container="mp4", audio_offset_seconds=2.0
    )

    decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert decoded.lead_in_seconds == 0


def test_the_first_of_several_streams_is_chosen(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "a.mp4", make_tone(1.0), container="mp4", audio_streams=3
    )

    assert_decodes_like_the_library(path, seconds=1.0)
    assert probe_media(path).audio_streams == 3


def test_a_default_stream_goes_before_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.mka"
    tone = make_tone(1.0)
    with av.open(str(path), "w", format="matroska") as output:
        silent = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        spoken = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        silent.disposition = Disposition(0)
        spoken.disposition = Disposition.default
        for stream, samples in ((silent, np.zeros_like(tone)), (spoken, tone)):
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "mono")
            frame.sample_rate = 16_000
            output.mux(stream.encode(frame))

    decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert np.array_equal(load_samples(tmp_path / "samples"), tone[:, 0])


def test_a_stream_may_change_its_rate_and_layout(tmp_path: Path) -> None:
    parts = [
        write_audio(tmp_path / "1", make_tone(1.0), "aac"),
        write_audio(
            tmp_path / "2", make_tone(2.0, rate=44_100, channels=2), "aac", rate=44_100
        ),
        write_audio(tmp_path / "3", make_tone(1.0), "aac"),
    ]
    path = tmp_path / "joined.aac"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))

    decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert decoded.duration_seconds == pytest.approx(4.0, abs=0.4)


def test_video_without_sound_has_no_audio(tmp_path: Path) -> None:
    path = write_media(tmp_path / "v.mp4", None, container="mp4", video_codec="libx264")

    with pytest.raises(NoAudioError) as probed:
        probe_media(path)
    with pytest.raises(NoAudioError):
        decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert probed.value.code == "no_audio"
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_track_without_a_sample_has_no_audio(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(0.0))

    with pytest.raises(NoAudioError):
        decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["wav", "mp3", "aac"])
def test_too_much_audio_is_refused(tmp_path: Path, kind: str) -> None:
    path = write_audio(tmp_path / "a", make_tone(10.0), kind)

    with pytest.raises(MediaTooLongError, match="longer than the 9 seconds"):
        decode_to_samples(path, tmp_path / "samples", max_seconds=9)

    assert sorted(tmp_path.iterdir()) == [path]


def test_audio_of_exactly_the_limit_is_accepted(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(10.0))

    decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=10)

    assert decoded.duration_seconds == 10


def test_progress_rises_to_the_whole_length(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(30.0))
    seen: list[float] = []

    decode_to_samples(
        path, tmp_path / "samples", max_seconds=60, on_progress=seen.append
    )

    assert len(seen) > 3
    assert seen == sorted(seen)
    assert seen[-1] == 30.0


def test_a_stop_ends_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(60.0))
    seen: list[float] = []

    with pytest.raises(TaskCancelledError):
        decode_to_samples(
            path,
            tmp_path / "samples",
            max_seconds=60,
            on_progress=seen.append,
            should_stop=lambda: len(seen) >= 2,
        )

    assert 0 < seen[-1] < 30
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_not_the_fault_of_the_media(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(10.0))

    def fail(seconds: float) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        decode_to_samples(path, tmp_path / "samples", max_seconds=60, on_progress=fail)
    with pytest.raises(FileNotFoundError):
        decode_to_samples(path, tmp_path / "away" / "samples", max_seconds=60)

    assert sorted(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_nothing_that_looks_like_samples(tmp_path: Path) -> None:
    destination = tmp_path / "samples"
    destination.write_bytes(b"\1\0")
    path = write_wav(tmp_path / "a.wav", make_tone(10.0))

    with pytest.raises(MediaTooLongError):
        decode_to_samples(path, destination, max_seconds=5)

    assert not destination.exists()


@pytest.mark.parametrize("channels", [9, 40])
def test_a_layout_without_a_downmix_is_refused_clearly(
    tmp_path: Path, channels: int
) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(1.0, channels=channels))

    with pytest.raises(InvalidMediaError, match="kind that cannot be decoded"):
        decode_to_samples(path, tmp_path / "samples", max_seconds=60)


@pytest.mark.parametrize("rate", [1, 999, 4_000_000, 2**31 - 1])
def test_an_absurd_rate_is_refused(tmp_path: Path, rate: int) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(0.5), rate=8_000)
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)

    with pytest.raises(MediaError):
        decode_to_samples(path, tmp_path / "samples", max_seconds=60)
