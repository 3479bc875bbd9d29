"""Broken files end in one of our media errors or in what can be saved of them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.media_files import (
    AUDIO_KINDS,
    make_tone,
    write_audio,
    write_media,
    write_wav,
)
from transcription.errors import InvalidMediaError, MediaError
from transcription.media.decode import decode_to_samples
from transcription.media.probe import probe_media

KINDS = [*AUDIO_KINDS, "mp4", "mpegts"]
MUTATIONS = 16


def make_intact(path: Path, kind: str) -> Path:
    rate = 48_000 if kind in {"ogg", "webm"} else 16_000
    # Ogg pages hold a second each.
    tone = make_tone(3.0, rate=rate)
    if kind in AUDIO_KINDS:
        return write_audio(path, tone, kind, rate=rate)
    return write_media(path, tone, container=kind, video_codec="libx264")


def decode_or_refuse(path: Path) -> float:
    """Decode as production does; a refusal counts as no seconds, all else fails."""
    folder = path.parent
    destination = folder / "samples"
    try:
        probe_media(path)
        decoded = decode_to_samples(path, destination, max_seconds=60)
    except MediaError as error:
        message = error.message
    else:
        message = ""
    if message:
        assert str(folder) not in message
        assert list(folder.iterdir()) == [path]
        return 0.0
    assert decoded.sample_count > 0
    assert sorted(folder.iterdir()) == sorted([path, destination])
    destination.unlink()
    return decoded.duration_seconds


@pytest.mark.parametrize("name", ["notes.mp3", "notes.wav", "notes.mp4", "notes"])
def test_text_is_no_media(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("Dear all, here are the minutes of Monday.\n" * 500)

    with pytest.raises(InvalidMediaError) as probed:
        probe_media(path)
    with pytest.raises(InvalidMediaError):
        decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert probed.value.code == "invalid_media"
    assert probed.value.message == "The file is not audio or video that can be read."


def test_an_empty_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp3"
    path.touch()

    with pytest.raises(InvalidMediaError, match=r"^The file is empty\.$"):
        probe_media(path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (pipe, tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidMediaError) as refused:
            probe_media(path)
        assert str(tmp_path) not in refused.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_yields_what_it_has(tmp_path: Path, kind: str) -> None:
    content = make_intact(tmp_path / "a", kind).read_bytes()
    path = tmp_path / "a"

    saved = []
    for share in (0.0002, 0.02, 0.1, 0.5, 0.9, 0.99):
        path.write_bytes(content[: max(1, int(len(content) * share))])
        saved.append(decode_or_refuse(path))

    assert saved[0] == 0
    # The index of these two lies at their end.
    if kind not in {"m4a", "mp4"}:
        assert 0.5 < saved[3] < saved[5]


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_decoded_or_refused(tmp_path: Path, kind: str) -> None:
    content = make_intact(tmp_path / "a", kind).read_bytes()
    path = tmp_path / "a"
    chance = random.Random(kind)

    for number in range(MUTATIONS):
        mutated = bytearray(content)
        # Half of the cases hit the headers, where the damage goes deepest.
        reach = len(mutated) if number % 2 else min(len(mutated), 600)
        for _ in range(chance.choice([1, 4, 20, 200])):
            mutated[chance.randrange(reach)] = chance.randrange(256)
        path.write_bytes(mutated)

        decode_or_refuse(path)


def test_undecodable_packets_are_left_out(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a", make_tone(4.0), "flac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)

    decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert 2.5 < decoded.duration_seconds <= 4.0


def test_a_file_of_undecodable_packets_is_invalid(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a", make_tone(2.0), "mka")
    content = bytearray(path.read_bytes())
    # Each FLAC frame begins with this sync code.
    for start in range(len(content) - 1):
        if content[start : start + 2] == b"\xff\xf8":
            content[start : start + 2] = b"\0\0"
    path.write_bytes(content)

    with pytest.raises(InvalidMediaError, match="damaged"):
        decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert list(tmp_path.iterdir()) == [path]


def test_a_name_with_a_protocol_in_it_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_wav(tmp_path / "subfile,,start,0,end,9,,:a.wav", make_tone(1.0))

    assert probe_media(Path(path.name)).audio_streams == 1
