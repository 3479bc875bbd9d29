"""Files are decoded in processes with limits, whose end is known and has a reason."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.media_files import (
    make_tone,
    write_audio,
    write_silent_flac,
    write_table_bomb,
    write_wav,
)
from tests.support.processes import is_alive
from tests.support.waiting import patient, wait_for
from transcription import errors
from transcription.errors import (
    DecoderLostError,
    DecodingTooExpensiveError,
    InvalidMediaError,
    MediaTooLongError,
    NoRoomError,
)
from transcription.media import decoder as decoder_module
from transcription.media.clock import Hole
from transcription.media.decode import decode_to_samples
from transcription.media.decoder import Decoder
from transcription.media.decoder_messages import Answer, Refusal
from transcription.media.facts import DecodedAudio, TrackChoice
from transcription.media.limits import Limits
from transcription.media.opening import TOO_MUCH_MEMORY
from transcription.notices import Notice, NoticeCode
from whisperhub.disk import occupied_bytes
from whisperhub.sentences import Sentence, parts_of

MIB = 2**20


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    made = Decoder()
    yield made
    made.close()


@pytest.fixture
def ordinary(tmp_path: Path) -> Path:
    return write_audio(tmp_path / "ordinary.m4a", make_tone(1.0), "m4a")


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    """A decoder whose processes end as a file says."""
    monkeypatch.setattr(decoder_module, "PROGRAM", "tests.support.dying_decoder")
    made = Decoder()
    yield made
    made.close()


def decode(decoder: Decoder, path: Path, **changes: Any) -> DecodedAudio:
    options = {"max_seconds": 86_400.0, "limits": Limits(), **changes}
    return decoder.decode(path, path.with_name("samples"), **options)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_samples_and_facts_are_those_of_the_decoder(
    decoder: Decoder, ordinary: Path
) -> None:
    expected = decode_to_samples(ordinary, ordinary.with_name("own"), max_seconds=60)

    decoded = decode(decoder, ordinary, choice=TrackChoice("0", index=0))

    samples = ordinary.with_name("samples")
    assert decoded == expected
    assert samples.read_bytes() == ordinary.with_name("own").read_bytes()
    assert left_in(ordinary.parent) == ["ordinary.m4a", "own", "samples"]


def test_an_answer_makes_no_objects_but_its_own() -> None:
    answer = Answer(
        DecodedAudio(
            facts=None,  # type: ignore[arg-type]
            sample_count=1,
            lead_in_seconds=0.0,
            undecodable_packets=0,
            holes=[Hole(1.0, 2.0)],
            notices=[Notice(NoticeCode.MODEL, Sentence("{a} s.", a=1), {"b": [2]})],
        ),
        goes_on=True,
    )

    assert decoder_module._unpickled(pickle.dumps(answer)) == answer
    for hostile in (os.system, Decoder, subprocess.Popen, eval):
        with pytest.raises(pickle.UnpicklingError):
            decoder_module._unpickled(pickle.dumps(hostile))


def test_a_process_is_used_again(decoder: Decoder, ordinary: Path) -> None:
    decode(decoder, ordinary)
    first = [process._popen.pid for process in decoder._idle]

    decode(decoder, ordinary)

    assert [process._popen.pid for process in decoder._idle] == first


def test_errors_and_their_sentences_come_through(
    decoder: Decoder, ordinary: Path
) -> None:
    with pytest.raises(MediaTooLongError) as caught:
        decode(decoder, ordinary, max_seconds=0.5)

    assert str(caught.value) == "The media is longer than the 0.5 seconds allowed."
    parts = parts_of(caught.value.message)
    assert parts is not None
    assert parts["values"] == {"seconds": 0.5}
    with pytest.raises(FileNotFoundError):
        decoder.decode(
            ordinary, Path("/nowhere/samples"), max_seconds=60, limits=Limits()
        )


def peak_bytes_of(path: Path, limits: Limits) -> int:
    """What a file that is refused adds to the memory of a fresh process."""
    decoder = Decoder()
    decode(decoder, path.with_name("ordinary.m4a"))
    (process,) = decoder._idle
    status = Path(f"/proc/{process._popen.pid}/status")

    def peak() -> int:
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024

    before = peak()
    with pytest.raises(InvalidMediaError):
        decode(decoder, path, limits=limits)
    added = peak() - before
    decoder.close()
    return added


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="only Linux bounds address space"
)
def test_a_file_takes_no_more_memory_than_it_may(ordinary: Path) -> None:
    bomb = write_table_bomb(ordinary.with_name("bomb"))

    # Its process was not broken, so that it can be asked.
    assert peak_bytes_of(bomb, Limits(memory_bytes=128 * MIB)) < 128 * MIB
    assert peak_bytes_of(bomb, Limits()) > 300 * MIB


def test_a_process_that_found_no_memory_is_not_used_again(
    dying: Decoder, ordinary: Path
) -> None:
    bomb = ordinary.with_name("bomb")
    bomb.write_text("memory".ljust(10))

    with pytest.raises(InvalidMediaError, match=TOO_MUCH_MEMORY):
        decode(dying, bomb)

    assert dying._idle == []
    assert decode(dying, ordinary).duration_seconds > 0.9


def test_a_track_whose_frames_cannot_be_found_is_damaged_and_not_empty(
    decoder: Decoder, tmp_path: Path
) -> None:
    bomb = write_table_bomb(tmp_path / "bomb", tracks=1, frames=200_000_000)

    with pytest.raises(InvalidMediaError):
        decode(decoder, bomb, limits=Limits(memory_bytes=128 * MIB))


def test_a_file_that_takes_too_much_processor_time_is_refused(
    decoder: Decoder, tmp_path: Path
) -> None:
    path = write_silent_flac(tmp_path / "a.flac", hours=24)

    with pytest.raises(DecodingTooExpensiveError) as caught:
        decode(decoder, path, limits=Limits(cpu_seconds=0.1))

    assert "0.1 s and 0 s for each minute" in str(caught.value)
    assert left_in(tmp_path) == ["a.flac"]


def test_audio_that_comes_pays_for_processor_time(
    decoder: Decoder, tmp_path: Path
) -> None:
    path = write_silent_flac(tmp_path / "a.flac", hours=4)

    # Two more seconds of work, at least, than is allowed without the second number.
    limits = Limits(cpu_seconds=0.1, cpu_seconds_per_minute=60)

    assert decode(decoder, path, limits=limits).duration_seconds > 3 * 3600


@pytest.mark.parametrize("way", ["SIGSEGV", "SIGABRT", "SIGILL", "exit"])
def test_a_file_that_breaks_its_process_is_refused_at_once(
    dying: Decoder, ordinary: Path, way: str
) -> None:
    deadly = ordinary.with_name("deadly")
    deadly.write_text(way.ljust(10))

    with pytest.raises(InvalidMediaError, match="ended the process"):
        decode(dying, deadly)

    assert decode(dying, ordinary).duration_seconds > 0.9
    assert left_in(ordinary.parent) == ["deadly", "ordinary.m4a", "samples"]


def test_a_process_that_was_killed_from_outside_is_not_the_fault_of_its_file(
    dying: Decoder, ordinary: Path
) -> None:
    deadly = ordinary.with_name("deadly")
    deadly.write_text("SIGKILL".ljust(10))

    with pytest.raises(DecoderLostError):
        decode(dying, deadly)


def test_a_job_is_stopped_from_another_thread(decoder: Decoder, ordinary: Path) -> None:
    stops: list[Callable[[], None]] = []

    def stop_at_once(stop: Callable[[], None]) -> None:
        stops.append(stop)
        stop()

    with pytest.raises(DecoderLostError):
        decode(decoder, ordinary, on_start=stop_at_once)

    decode(decoder, ordinary)
    # It was for a job that has ended: no other is stopped.
    stops[0]()
    assert decoder._idle[-1].is_running()


def test_a_process_ends_with_the_one_that_started_it(
    decoder: Decoder, ordinary: Path
) -> None:
    decode(decoder, ordinary)
    process = decoder._idle[-1]
    assert process._popen.stdin is not None

    process._popen.stdin.close()

    wait_for(lambda: not is_alive(process._popen.pid))


def test_a_process_whose_worker_goes_before_the_first_file_ends_in_silence(
    capfd: pytest.CaptureFixture[str],
) -> None:
    process = decoder_module._Process()
    assert process._socket.poll(patient(60))

    process._socket.close()

    assert process._popen.wait(patient(10)) == 0
    assert capfd.readouterr().err == ""
    assert process._popen.stdin is not None
    process._popen.stdin.close()


def test_a_process_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERHUB_SECRET_KEY", "secret")

    assert "secret" not in decoder_module._environment().values()


def test_silence_takes_no_room(decoder: Decoder, tmp_path: Path) -> None:
    path = write_silent_flac(tmp_path / "a.flac", hours=1)

    decoded = decode(decoder, path)

    samples = tmp_path / "samples"
    assert samples.stat().st_size == decoded.sample_count * 2 > 3000 * 32_000
    assert occupied_bytes(samples) < MIB


def test_decoding_leaves_the_reserve_of_the_volume_alone(
    decoder: Decoder, ordinary: Path
) -> None:
    with pytest.raises(NoRoomError):
        decode(decoder, ordinary, limits=Limits(reserve_bytes=2**60))

    assert left_in(ordinary.parent) == ["ordinary.m4a"]


def test_samples_that_would_pass_their_owners_share_are_not_written(
    decoder: Decoder, tmp_path: Path
) -> None:
    path = write_wav(tmp_path / "a.wav", make_tone(100.0))
    limits = Limits(owner_share=2 * MIB / 2**50)

    with pytest.raises(NoRoomError):
        decode(decoder, path, limits=limits)

    assert left_in(tmp_path) == ["a.wav"]


def errors_of_media(base: type[Exception] = errors.MediaError) -> list[type[Exception]]:
    """The class and every class below it."""
    below = [errors_of_media(child) for child in base.__subclasses__()]
    return [base, *(found for some in below for found in some)]


@pytest.mark.parametrize("kind", errors_of_media(), ids=lambda kind: kind.__name__)
def test_every_error_of_media_is_the_same_after_its_way_to_the_worker(
    kind: type[Exception],
) -> None:
    sentence = Sentence("The file is longer than {seconds} s.", seconds=5)

    with pytest.raises(errors.MediaError) as raised:
        decoder_module._decoded(Refusal(kind.__name__, sentence))

    assert raised.type is kind
    assert parts_of(raised.value.message) == parts_of(sentence)
