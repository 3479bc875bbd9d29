"""Channels that cancel each other out in a mix are not lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.support.media_files import make_tone, write_audio, write_wav
from transcription.audio import SAMPLE_RATE
from transcription.media.decode import decode_to_samples
from transcription.media.facts import DecodedAudio
from transcription.media.mixing import ChannelWatch
from transcription.media.samples import as_floats
from transcription.notices import NoticeCode
from transcription.samples import load_samples


def decode(path: Path) -> tuple[DecodedAudio, Any]:
    decoded = decode_to_samples(path, path.with_name("samples"), max_seconds=600)
    return decoded, load_samples(path.with_name("samples"))


def power(samples: Any) -> float:
    return float(np.mean(np.square(samples.astype(float))))


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4a", "ogg"])
def test_an_inverted_channel_takes_nothing_away(tmp_path: Path, kind: str) -> None:
    rate = 48_000 if kind == "ogg" else 44_100
    left = make_tone(10.0, rate=rate)
    path = write_audio(tmp_path / "a", np.hstack([left, -left]), kind, rate=rate)
    alone = write_audio(tmp_path / "b", left, kind, rate=rate)

    _, expected = decode(alone)
    expected_power = power(expected)
    decoded, samples = decode(path)

    assert power(samples) == pytest.approx(expected_power, rel=0.2)
    assert decoded.duration_seconds == pytest.approx(10, abs=0.1)
    (notice,) = decoded.notices
    assert notice.code == NoticeCode.CHANNELS_CANCEL
    assert notice.details["seconds"] == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("channels", [6, 8, 16])
@pytest.mark.parametrize("name", ["flt", "fltp", "s16p"])
def test_each_channel_is_read_where_it_lies(name: str, channels: int) -> None:
    resampler = av.AudioResampler(format=name)
    sound = np.random.default_rng(1).uniform(-1, 1, (channels, 1000))
    packed = np.ascontiguousarray(sound.T.reshape(1, -1).astype(np.float32))
    layout = {6: "5.1", 8: "7.1", 16: "hexadecagonal"}[channels]
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate = 48_000
    (converted,) = resampler.resample(frame)

    read = as_floats(converted)

    assert converted.format.name == name
    assert read is not None
    assert read == pytest.approx(sound, abs=1e-4)


def test_the_channel_is_the_one_of_the_file(tmp_path: Path) -> None:
    left = make_tone(5.0)
    path = write_wav(tmp_path / "a.wav", np.hstack([left, -left]))

    _, samples = decode(path)

    assert np.abs(samples - left[:, 0]).max() <= 1


@pytest.mark.parametrize("second", ["inverted", "same"])
def test_only_what_cancels_is_replaced(tmp_path: Path, second: str) -> None:
    left = make_tone(60.0)
    right = left.copy()
    half = (
        slice(30 * SAMPLE_RATE, None)
        if second == "inverted"
        else slice(0, 30 * SAMPLE_RATE)
    )
    right[half] = -right[half]
    path = write_wav(tmp_path / "a.wav", np.hstack([left, right]))

    decoded, samples = decode(path)

    assert decoded.sample_count == pytest.approx(len(left), abs=2)
    for start in range(0, 60, 5):
        part = slice(start * SAMPLE_RATE, (start + 5) * SAMPLE_RATE)
        assert power(samples[part]) > 0.5 * power(left[part])
    (notice,) = decoded.notices
    assert notice.details["seconds"] == pytest.approx(30, abs=5)


def test_a_short_jingle_does_not_hide_what_cancels(tmp_path: Path) -> None:
    left = make_tone(4.0)
    right = -left
    right[:SAMPLE_RATE] = left[:SAMPLE_RATE]
    path = write_wav(tmp_path / "a.wav", np.hstack([left, right]))

    decoded, samples = decode(path)

    assert decoded.notices
    assert power(samples[2 * SAMPLE_RATE :]) > 0.5 * power(left[2 * SAMPLE_RATE :])


def channels_of(case: str) -> Any:
    left, other = make_tone(5.0), make_tone(5.0, seed=3)[::-1]
    silence = np.zeros_like(left)
    return {
        "same": [left, left],
        "different": [left, other],
        "one silent": [left, silence],
        "both silent": [silence, silence],
        "partly inverted": [left, -left // 2],
        "noise below hearing": [left // 10_000, -(left // 10_000)],
        "centre of a film": [silence, silence, left, silence, silence, silence],
        "low tones of a film": [silence, silence, silence, left, silence, silence],
    }[case]


@pytest.mark.parametrize(
    "case",
    [
        "same",
        "different",
        "one silent",
        "both silent",
        "partly inverted",
        "noise below hearing",
        "centre of a film",
        "low tones of a film",
    ],
)
def test_a_mix_that_keeps_its_sound_is_left_alone(tmp_path: Path, case: str) -> None:
    path = write_wav(tmp_path / "a.wav", np.hstack(channels_of(case)))

    assert decode(path)[0].notices == []


def test_sides_of_a_film_that_cancel_are_noticed(tmp_path: Path) -> None:
    left = make_tone(5.0)
    silence = np.zeros_like(left)
    sides = [left, -left, silence, silence, silence, silence]
    path = write_wav(tmp_path / "a.wav", np.hstack(sides))

    decoded, samples = decode(path)

    assert decoded.notices[0].code == NoticeCode.CHANNELS_CANCEL
    assert power(samples) > 0.5 * power(left)


def test_the_louder_channel_is_taken_and_kept() -> None:
    watch = ChannelWatch()
    tone = make_tone(1.0)[:, 0].astype(np.float32) / 2**15
    taken = []
    for first, second in ((0.9, 1.0), (1.0, 0.9), (0.9, 1.0)):
        block = av.AudioFrame.from_ndarray(
            np.stack([first * tone, -second * tone]), "fltp", "stereo"
        )
        block.sample_rate = 16_000
        assert watch.rescue(block) is not None
        taken.append(watch.channel)

    assert taken == [0, 0, 0]
    assert watch.seconds == pytest.approx(3.0)
