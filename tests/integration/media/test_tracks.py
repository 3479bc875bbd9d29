"""Of several tracks of sound the right one is taken, and all are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.support.media_files import make_tone, write_tracks
from transcription.errors import NoSuchTrackError, TaskCancelledError
from transcription.media import tracks
from transcription.media.decode import decode_to_samples
from transcription.media.facts import DecodedAudio, TrackChoice
from transcription.notices import NoticeCode
from transcription.samples import load_samples

SILENCE = np.zeros((16_000, 1), np.int16)
TONE = make_tone(1.0)
OTHER = make_tone(1.0, seed=7)[::-1]


def decode(path: Path, choice: TrackChoice | None = None) -> tuple[DecodedAudio, Any]:
    decoded = decode_to_samples(
        path, path.with_name("samples"), max_seconds=60, choice=choice
    )
    return decoded, load_samples(path.with_name("samples"))


def test_the_first_track_with_sound_is_taken_and_told(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a", SILENCE, SILENCE, TONE, OTHER, default=0)

    decoded, samples = decode(path)

    assert decoded.track == 2
    assert np.array_equal(samples, TONE[:, 0])
    (notice,) = decoded.notices
    assert notice.code == NoticeCode.AUDIO_TRACK_CHOSEN
    assert notice.details == {"track": 2, "silent": 0}


@pytest.mark.parametrize("level", [0, 20])
def test_noise_below_hearing_is_silence(tmp_path: Path, level: int) -> None:
    noise = np.full_like(SILENCE, level)
    path = write_tracks(tmp_path / "a", noise, TONE, default=0)

    assert decode(path)[0].track == 1


def test_a_default_track_with_sound_goes_before_others(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a", OTHER, TONE, default=1)

    decoded, samples = decode(path)

    assert (decoded.track, decoded.notices) == (1, [])
    assert np.array_equal(samples, TONE[:, 0])


def test_sound_that_begins_late_is_still_sound(tmp_path: Path) -> None:
    late = np.concatenate([SILENCE] * 30 + [TONE])
    path = write_tracks(tmp_path / "a", late, np.tile(TONE, (31, 1)), default=0)

    assert decode(path)[0].track == 0


def test_a_track_is_listened_to_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "LISTEN_SECONDS", 5.0)
    late = np.concatenate([SILENCE] * 30 + [TONE])
    path = write_tracks(tmp_path / "a", late, np.tile(TONE, (31, 1)), default=0)

    assert decode(path)[0].track == 1


def test_of_silent_tracks_the_default_one_is_taken(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a", SILENCE, SILENCE, default=1)

    decoded, samples = decode(path)

    assert (decoded.track, decoded.notices) == (1, [])
    assert len(samples) == 16_000


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (TrackChoice("0", index=0), 0),
        (TrackChoice("2", index=2), 2),
        (TrackChoice("de", speaks=lambda tag: tag == "ger"), 1),
    ],
)
def test_a_track_that_is_wanted_is_taken_whatever_it_holds(
    tmp_path: Path, choice: TrackChoice, taken: int
) -> None:
    contents = [SILENCE, OTHER, TONE]
    path = write_tracks(tmp_path / "a", *contents, default=2, languages="eng ger jpn")

    decoded, samples = decode(path, choice)

    assert (decoded.track, decoded.notices) == (taken, [])
    assert np.array_equal(samples, contents[taken][:, 0])


@pytest.mark.parametrize(
    "choice", [TrackChoice("3", index=3), TrackChoice("fr", speaks=lambda tag: False)]
)
def test_a_track_that_is_not_there_is_named_beside_those_that_are(
    tmp_path: Path, choice: TrackChoice
) -> None:
    path = write_tracks(tmp_path / "a", TONE, OTHER, languages="eng und")

    with pytest.raises(NoSuchTrackError) as refused:
        decode(path, choice)

    assert refused.value.code == "no_such_track"
    assert f"no audio track {choice.wanted}. It has: 0 (eng), 1." in str(refused.value)


def test_all_tracks_are_described(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a", TONE, OTHER, default=1, languages="eng und")

    decoded, _ = decode(path)

    first, second = (track.as_dict() for track in decoded.tracks)
    assert first == {
        "index": 0,
        "language": "eng",
        "title": "Title 0",
        "codec": "pcm_s16le",
        "channels": 1,
        "default": False,
    }
    assert second == {
        **first,
        "index": 1,
        "language": "",
        "title": "Title 1",
        "default": True,
    }


def test_listening_stops_when_the_task_is_cancelled(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a", SILENCE, TONE)
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return True

    with pytest.raises(TaskCancelledError):
        decode_to_samples(path, tmp_path / "s", max_seconds=60, should_stop=stop)

    assert len(asked) == 1


@pytest.mark.parametrize(
    ("form", "make"),
    [
        ("u8", lambda level: np.full((1, 100), 128 + level * 127, np.uint8)),
        ("s16", lambda level: np.full((1, 100), level * 32_000, np.int16)),
        ("s32", lambda level: np.full((1, 100), level * 2**30, np.int32)),
        ("fltp", lambda level: np.full((1, 100), level, np.float32)),
        ("dblp", lambda level: np.full((1, 100), level, np.float64)),
    ],
)
def test_silence_is_told_from_sound_in_every_form(
    form: str, make: Callable[[float], Any]
) -> None:
    for level, expected in ((0.0, False), (0.5, True), (0.00001, False)):
        frame = av.AudioFrame.from_ndarray(make(level), form, "mono")

        assert tracks.has_sound(frame) is expected
