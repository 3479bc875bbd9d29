"""Decode the audio of a media file to the samples that engines take.

The samples file is raw 16 kHz mono, 16 bits little-endian, no header. Its first sample
stands at the start of the media: if the audio begins later than the video, silence
comes first, so that times in the transcript are times in the player. Gaps inside the
audio stream are not filled: time stamps of real files jitter too much to tell a gap.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.error import ExitError
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from transcription.audio import SAMPLE_RATE, Samples
from transcription.errors import (
    InvalidMediaError,
    MediaTooLongError,
    NoAudioError,
    TaskCancelledError,
)
from transcription.media.opening import (
    DEFAULT_LIMITS,
    MEDIA_ERRORS,
    OpeningLimits,
    media_errors,
    open_media,
)
from transcription.media.probe import (
    MediaFacts,
    can_decode,
    choose_audio_stream,
    read_facts,
)
from transcription.notices import Notice
from whisperhub.sentences import Sentence

SAMPLE_BYTES = 2
SAMPLE_DTYPE = np.dtype("<i2")

# The resampler is fed blocks, not the frames of the codec, to spare Python work. A
# block is bounded in seconds because a file of 1 kHz grows sixteenfold, and in samples
# because a header may claim millions a second.
BLOCK_SECONDS = 4
MAX_BLOCK_SAMPLES = 131_072
# Beyond these a "rate" is a forged header: the resampler's filter grows with the rate.
# The highest real one is that of DSD512 audio.
MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 3_072_000
# In one frame of a codec; a second of 192 kHz in eight channels has 1.5 million.
MAX_FRAME_SAMPLES = 8_388_608

# Codecs prime with up to 50 ms of samples of no meaning, and Whisper's times have
# steps of 20 ms: a lead-in below this is not worth a difference to other decoders.
MIN_LEAD_IN_SECONDS = 0.05

# FFmpeg guesses the length of these from the bit rate at their start.
FORMATS_WITHOUT_DURATION = frozenset({"aac", "ac3", "amr", "eac3", "mp3"})

PACKETS_BETWEEN_STOP_CHECKS = 32

DAMAGED = Sentence("The audio in the file is damaged and cannot be decoded.")
UNSUPPORTED = Sentence(
    "The audio in the file is of a kind that cannot be decoded here."
)


@dataclass(frozen=True)
class DecodedAudio:
    """What became of one file; its samples lie in the destination."""

    facts: MediaFacts
    sample_count: int
    # Silence put first because the audio starts later than the media.
    lead_in_seconds: float
    undecodable_packets: int
    notices: list[Notice] = field(default_factory=list)

    @property
    def duration_seconds(self) -> float:
        """The length of the samples, lead-in included."""
        return self.sample_count / SAMPLE_RATE


def decode_to_samples(
    path: Path,
    destination: Path,
    *,
    max_seconds: float,
    on_progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    limits: OpeningLimits = DEFAULT_LIMITS,
) -> DecodedAudio:
    """Decode the audio of a media file into a samples file.

    Packets that cannot be decoded are left out, so a file cut short yields what it
    has. Memory does not grow with the length. The destination appears whole or not at
    all; while writing, a `<name>.<hex>.part` lies beside it.

    Args:
        path: chosen by the server.
        destination: the samples file to write or replace.
        max_seconds: of audio, counted in samples as they come.
        on_progress: gets the seconds done after every block of some seconds of audio.
        should_stop: asked often, so it must be cheap.
        limits: what opening may cost.

    Raises:
        InvalidMediaError: not media, or nothing in it can be decoded.
        NoAudioError: no audio stream, or not one sample in it.
        MediaTooLongError: more audio than `max_seconds`.
        TaskCancelledError: `should_stop` said so.
        OSError: the destination cannot be written.
    """
    with open_media(path, limits=limits) as container:
        with media_errors(DAMAGED):
            facts = read_facts(container)
            reader = _AudioReader(container, should_stop or _never)
        if _claims_more_than(max_seconds, facts):
            raise _too_long(max_seconds)
        with _replacing(destination) as file:
            count = 0
            for block in reader.read_blocks():
                if not count:
                    count = round(reader.lead_in_seconds * SAMPLE_RATE)
                count += len(block)
                if count > max_seconds * SAMPLE_RATE:
                    raise _too_long(max_seconds)
                # Seeking leaves a hole for the lead-in, which reads as silence.
                file.seek((count - len(block)) * SAMPLE_BYTES)
                file.write(block.astype(SAMPLE_DTYPE, copy=False).data)
                if on_progress:
                    on_progress(count / SAMPLE_RATE)
            if not count:
                raise reader.explain_silence()
    return DecodedAudio(
        facts=facts,
        sample_count=count,
        lead_in_seconds=reader.lead_in_seconds,
        undecodable_packets=reader.undecodable_packets,
    )


def load_samples(path: Path) -> Samples:
    """Map a samples file into memory.

    Returns:
        Read-only samples, shape (n_samples,).
    """
    if path.stat().st_size == 0:
        # An empty file cannot be mapped.
        return np.empty(0, SAMPLE_DTYPE)
    return np.memmap(path, SAMPLE_DTYPE, mode="r")


class _AudioReader:
    """Reads one audio stream of an open container as 16 kHz mono blocks, once."""

    def __init__(
        self, container: InputContainer, should_stop: Callable[[], bool]
    ) -> None:
        self.lead_in_seconds = 0.0
        self.undecodable_packets = 0
        self._container = container
        self._should_stop = should_stop
        self._stream = choose_audio_stream(container)
        self._read_error: Exception | None = None
        self._has_frames = False
        # The earliest time seen in the file, in seconds.
        self._start: Fraction | None = None

        if not can_decode(self._stream):
            raise InvalidMediaError(UNSUPPORTED)
        with media_errors(UNSUPPORTED):
            codec = self._stream.codec_context
            codec.options = {"max_samples": str(MAX_FRAME_SAMPLES)}
            codec.open(strict=False)

    def read_blocks(self) -> Iterator[Samples]:
        """Yield samples of shape (n_samples,), never empty.

        `lead_in_seconds` holds from the first block on.
        """
        converter: _Converter | None = None
        for frame in self._read_frames():
            if converter is None or not converter.accepts(frame):
                if converter is not None:
                    yield from converter.flush()
                converter = _Converter(frame)
            yield from converter.convert(frame)
        if converter is not None:
            yield from converter.flush()

    def explain_silence(self) -> InvalidMediaError | NoAudioError:
        """Say why there was no block."""
        if self.undecodable_packets or self._read_error:
            error = InvalidMediaError(DAMAGED)
            error.__cause__ = self._read_error
            return error
        return NoAudioError(Sentence("The file has an audio track with nothing in it."))

    def _read_frames(self) -> Iterator[AudioFrame]:
        for packet in self._read_packets():
            try:
                frames = packet.decode()
            except MEDIA_ERRORS:
                self.undecodable_packets += 1
                continue
            for frame in frames:
                if not isinstance(frame, AudioFrame) or not frame.samples:
                    continue
                if not self._has_frames:
                    self._has_frames = True
                    self._settle_lead_in(frame)
                yield frame

    def _read_packets(self) -> Iterator[Packet[Stream]]:
        """Yield the packets of the audio stream until the end, or the damage."""
        pictures = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        timed = [self._stream, *pictures]
        for stream in self._container.streams:
            if stream not in timed:
                stream.discard = Discard.all
            elif stream.start_time is not None and stream.time_base is not None:
                self._note_start(stream.start_time * stream.time_base)
        packets = self._container.demux(timed)
        for number in itertools.count():
            if number % PACKETS_BETWEEN_STOP_CHECKS == 0 and self._should_stop():
                raise TaskCancelledError(Sentence("The task was cancelled."))
            try:
                packet = next(packets, None)
            except ExitError as error:
                raise InvalidMediaError(
                    Sentence("Reading the file took too long.")
                ) from error
            except MEDIA_ERRORS as error:
                # What was decoded so far stands, as for a file cut short.
                self._read_error = error
                return
            if packet is None:
                return
            if packet.stream.index == self._stream.index:
                yield packet
            elif self._has_frames:
                packet.stream.discard = Discard.all
            elif packet.pts is not None and packet.time_base is not None:
                # The header's start of a video can be too late, as no picture is
                # decoded when the file is opened.
                self._note_start(packet.pts * packet.time_base)

    def _note_start(self, seconds: Fraction) -> None:
        if self._start is None or seconds < self._start:
            self._start = seconds

    def _settle_lead_in(self, frame: AudioFrame) -> None:
        """Compare the first frame with the earliest time of the file."""
        if frame.pts is None or frame.time_base is None or self._start is None:
            return
        late = float(frame.pts * frame.time_base - self._start)
        if late >= MIN_LEAD_IN_SECONDS:
            self.lead_in_seconds = late


class _Converter:
    """Turns frames of one format, layout and rate into 16 kHz mono samples."""

    def __init__(self, frame: AudioFrame) -> None:
        if not MIN_SAMPLE_RATE <= frame.sample_rate <= MAX_SAMPLE_RATE:
            raise InvalidMediaError(UNSUPPORTED)
        self._form = _form_of(frame)
        self._block = min(frame.sample_rate * BLOCK_SECONDS, MAX_BLOCK_SAMPLES)
        self._time_base = Fraction(1, frame.sample_rate)
        self._fifo = AudioFifo()
        self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)

    def accepts(self, frame: AudioFrame) -> bool:
        """Whether the frame has the form of the first one."""
        return _form_of(frame) == self._form

    def convert(self, frame: AudioFrame) -> Iterator[Samples]:
        """Take a frame and yield what is ready."""
        # Samples are counted, not timed.
        frame.pts = None
        frame.time_base = self._time_base
        with media_errors(UNSUPPORTED):
            self._fifo.write(frame)
        while self._fifo.samples >= self._block:
            yield from self._resample(self._fifo.read(self._block))

    def flush(self) -> Iterator[Samples]:
        """Yield what is left."""
        if self._fifo.samples:
            yield from self._resample(self._fifo.read())
        yield from self._resample(None)

    def _resample(self, frame: AudioFrame | None) -> Iterator[Samples]:
        with media_errors(UNSUPPORTED):
            resampled = self._resampler.resample(frame)
        for piece in resampled:
            # Without work to do the resampler hands back even the None.
            if piece is not None and piece.samples:
                yield piece.to_ndarray().astype(np.int16, copy=False).reshape(-1)


def _form_of(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _claims_more_than(max_seconds: float, facts: MediaFacts) -> bool:
    """Whether the header says it plainly; the count of samples has the last word."""
    return (
        facts.duration_seconds is not None
        and facts.duration_seconds > max_seconds
        and facts.format_name not in FORMATS_WITHOUT_DURATION
    )


def _too_long(max_seconds: float) -> MediaTooLongError:
    return MediaTooLongError(
        Sentence(
            "The media is longer than the {seconds:g} seconds allowed.",
            seconds=max_seconds,
        )
    )


@contextlib.contextmanager
def _replacing(destination: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name when the body ends well, or never."""
    # Two processes may decode the same task for a moment, so the name is one's own.
    # No fsync: after a power cut the task is prepared again.
    part = destination.with_name(f"{destination.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(destination)
    finally:
        part.unlink(missing_ok=True)


def _never() -> bool:
    return False
