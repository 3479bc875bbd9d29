"""Decode the audio of a media file to the samples that engines take.

The samples file is raw 16 kHz mono, 16 bits little-endian, no header. Its first sample
stands at the start of the media, and silence takes the place of sound that is missing:
before audio that begins later than the video, and in holes of its time stamps. So times
in the transcript are times in the player. What headers and time stamps claim beyond
that changes nothing: only counted samples decide how long a recording is.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import ExitError
from av.format import Flags
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from transcription.audio import SAMPLE_BYTES, SAMPLE_RATE
from transcription.errors import (
    InvalidMediaError,
    MediaTooLongError,
    NoAudioError,
    TaskCancelledError,
    TypeNotAllowedError,
)
from transcription.media import notices
from transcription.media.clock import (
    MAX_HOLE_SECONDS,
    MAX_HOLE_SECONDS_OF_BROADCAST,
    Hole,
    Opening,
    SampleClock,
)
from transcription.media.facts import (
    AudioTrack,
    DecodedAudio,
    MediaFacts,
    TrackChoice,
)
from transcription.media.mixing import ChannelWatch
from transcription.media.opening import (
    DEFAULT_LIMITS,
    MEDIA_ERRORS,
    TOO_MUCH_MEMORY,
    OpeningLimits,
    media_errors,
    open_media,
)
from transcription.media.probe import has_video, read_facts
from transcription.media.recognition import is_cut_short
from transcription.media.tracks import (
    can_decode,
    first_with_sound,
    list_tracks,
    open_decoder,
    ranked_tracks,
)
from transcription.media.types import EVERY_TYPE, AllowedTypes, usual_extension
from transcription.notices import Notice
from transcription.samples import SAMPLE_DTYPE, Samples
from whisperhub.sentences import Sentence

# The resampler is fed blocks, not the frames of the codec, to spare Python work. A
# block is bounded in seconds because a file of 1 kHz grows sixteenfold, and in samples
# because a header may claim millions a second.
BLOCK_SECONDS = 4
MAX_BLOCK_SAMPLES = 131_072
# Beyond these a "rate" is a forged header: the resampler's filter grows with the rate.
# The highest real one is that of DSD512 audio.
MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 3_072_000

# Codecs prime with up to 50 ms of samples of no meaning, and Whisper's times have
# steps of 20 ms: a lead-in below this is not worth a difference to other decoders.
MIN_LEAD_IN_SECONDS = 0.05

# A longer time before the first sound is a wrong time stamp.
MAX_LEAD_IN = 600.0  # seconds
# Others compute time stamps from sizes and rates, which cannot show a hole.
FORMATS_WITH_STAMPS = frozenset(
    {"asf", "flv", "matroska", "mov", "mpeg", "mpegts", "nut", "ogg", "rm"}
)

LONGEST_FLAC_FRAME_SECONDS = 5.0  # 65,535 samples of 16 kHz

PACKETS_BETWEEN_STOP_CHECKS = 32

DAMAGED = Sentence("The audio in the file is damaged and cannot be decoded.")
UNSUPPORTED = Sentence(
    "The audio in the file is of a kind that cannot be decoded here."
)


def decode_to_samples(
    path: Path,
    destination: Path,
    *,
    max_seconds: float,
    choice: TrackChoice | None = None,
    on_progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    limits: OpeningLimits = DEFAULT_LIMITS,
    allowed: AllowedTypes = EVERY_TYPE,
) -> DecodedAudio:
    """Decode the audio of a media file into a samples file.

    Packets that cannot be decoded are left out, so a file cut short yields what it
    has. Memory does not grow with the length.

    Args:
        path: chosen by the server.
        destination: the samples file, created or overwritten; deleted on error.
        max_seconds: of audio, counted in samples as they come.
        choice: the track that is wanted; None: the default one, or the first with
            sound in it.
        on_progress: gets the seconds done after every block of some seconds of audio.
        should_stop: asked often, so it must be cheap.
        limits: what opening may cost.
        allowed: the types of content that are accepted.

    Raises:
        InvalidMediaError: not media, or nothing in it can be decoded.
        TypeNotAllowedError: its content is of another type.
        NoAudioError: no audio stream, or not one sample in it.
        NoSuchTrackError: none is the one that is wanted.
        MediaTooLongError: more audio than `max_seconds`.
        TaskCancelledError: `should_stop` said so.
        OSError: the destination cannot be written.
    """
    should_stop = should_stop or _never
    with open_media(path, limits=limits) as container:
        with media_errors(DAMAGED):
            _check_type(container, allowed)
            tracks = list_tracks(container)
            ranked = ranked_tracks(tracks, choice)
            track = _choose(path, ranked, should_stop=should_stop, limits=limits)
            stream = container.streams.audio[track.index]
            facts = read_facts(container, stream)
            reader = _AudioReader(
                container, stream, should_stop=should_stop, max_seconds=max_seconds
            )
        with _new_file(destination) as file:
            count = _write_samples(
                reader, file, max_seconds=max_seconds, on_progress=on_progress
            )
    return DecodedAudio(
        facts=facts,
        sample_count=count,
        lead_in_seconds=reader.lead_in_seconds,
        undecodable_packets=reader.undecodable_packets,
        holes=reader.holes,
        tracks=tracks,
        track=track.index,
        notices=[
            *_notices_of_end(path, reader, facts, count),
            *notices.chosen_track(track, instead_of=ranked[0]),
            *reader.make_notices(),
        ],
    )


def _write_samples(
    reader: _AudioReader,
    file: BinaryIO,
    *,
    max_seconds: float,
    on_progress: Callable[[float], None] | None,
) -> int:
    """Write what a reader reads; returns the number of samples, silence included."""
    count = heard = 0
    for piece in reader.read_pieces():
        if isinstance(piece, Hole):
            count = max(count, round(piece.end * SAMPLE_RATE))
            continue
        count += len(piece)
        heard += len(piece)
        if count > max_seconds * SAMPLE_RATE:
            raise _too_long(max_seconds)
        # What is left out is a hole in the file: it reads as silence and takes no room.
        if piece.any():
            file.seek((count - len(piece)) * SAMPLE_BYTES)
            file.write(piece.astype(SAMPLE_DTYPE, copy=False).data)
        if on_progress:
            on_progress(count / SAMPLE_RATE)
    if not heard:
        raise reader.explain_silence()
    file.truncate(count * SAMPLE_BYTES)
    return count


def _notices_of_end(
    path: Path, reader: _AudioReader, facts: MediaFacts, count: int
) -> Iterator[Notice]:
    is_short = (
        reader.is_cut_short
        or is_cut_short(path, first_name(facts.format_name))
        or _lacks_stated_samples(facts, count)
    )
    return notices.cut_short(is_short, seconds=count / SAMPLE_RATE)


def _check_type(container: InputContainer, allowed: AllowedTypes) -> None:
    format_name, video = container.format.name, has_video(container)
    if not allowed.has_content(format_name, has_video=video):
        raise TypeNotAllowedError(
            Sentence(
                "The content of the file is of the type .{extension}, which this "
                "server does not accept under any name. It accepts: {allowed}. "
                "Convert the file, or ask the operator to allow the type.",
                extension=usual_extension(format_name, has_video=video),
                allowed=str(allowed),
            )
        )


def _choose(
    path: Path,
    tracks: list[AudioTrack],
    *,
    should_stop: Callable[[], bool],
    limits: OpeningLimits,
) -> AudioTrack:
    """Choose among tracks, the preferred one first: that one, unless it is silent.

    Others are listened to in the file as it is opened once more: many formats do not
    go back to their start.
    """
    decodable = [track for track in tracks if track.codec]
    if len(decodable) < 2:
        return tracks[0]
    with open_media(path, limits=limits) as container:
        return first_with_sound(
            container, decodable, check=lambda: _check_stop(should_stop)
        )


class _AudioReader:
    """Reads one audio stream of an open container as 16 kHz mono blocks, once."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        *,
        should_stop: Callable[[], bool],
        max_seconds: float,
    ) -> None:
        self.lead_in_seconds = 0.0
        self.undecodable_packets = 0
        self._container = container
        self._should_stop = should_stop
        self._max_seconds = max_seconds
        self._max_hole_seconds = max_hole_seconds(container)
        self._has_stamps = first_name(container.format.name) in FORMATS_WITH_STAMPS
        self._stream = stream
        # Of its time stamps, in seconds.
        self._tick = float(stream.time_base or 0)
        self._read_error: Exception | None = None
        self._is_last_corrupt = False
        self._clock: SampleClock[AudioFrame] | None = None
        self._opening = Opening(self._max_hole_seconds)
        self._channels = ChannelWatch()

        if not can_decode(stream):
            raise InvalidMediaError(UNSUPPORTED)
        with media_errors(UNSUPPORTED):
            open_decoder(stream)

    @property
    def holes(self) -> list[Hole]:
        """The holes that were found so far."""
        return self._clock.holes if self._clock else []

    def read_pieces(self) -> Iterator[Samples | Hole]:
        """Yield samples of shape (n_samples,), never empty, and holes between them."""
        converter: _Converter | None = None
        for piece in self._place_frames():
            frame = None if isinstance(piece, Hole) else piece
            if converter is not None and not (frame and converter.accepts(frame)):
                yield from converter.flush()
                converter = None
            if isinstance(piece, Hole):
                yield piece
            else:
                converter = converter or _Converter(piece, self._channels)
                yield from converter.convert(piece)
        if converter is not None:
            yield from converter.flush()

    @property
    def is_cut_short(self) -> bool:
        """Whether reading ended in an error, or in a packet that is not all there."""
        return self._read_error is not None or self._is_last_corrupt

    def make_notices(self) -> list[Notice]:
        """What a reader of the transcript must know, once everything is read."""
        jumps = self._clock.jumps if self._clock else []
        return [
            *notices.missing_audio(self.holes, self.undecodable_packets),
            *notices.clock_jumps(jumps),
            *notices.cancelled_channels(self._channels),
        ]

    def explain_silence(self) -> InvalidMediaError | NoAudioError:
        """Say why there was no block."""
        # A track whose header counts frames is not empty: the table of its frames was
        # too long to be read, or is a lie.
        if self.undecodable_packets or self._read_error or self._stream.frames:
            error = InvalidMediaError(DAMAGED)
            error.__cause__ = self._read_error
            return error
        return NoAudioError(Sentence("The file has an audio track with nothing in it."))

    def _place_frames(self) -> Iterator[AudioFrame | Hole]:
        """Yield the frames, with the silence that belongs before each."""
        for frame in self._read_frames():
            pts = frame.pts
            stamp = None if pts is None else pts * self._tick
            if self._clock is None:
                self._clock = self._begin(stamp)
                if self.lead_in_seconds:
                    yield Hole(0.0, self.lead_in_seconds)
            if not self._has_stamps:
                stamp = None
            seconds = _seconds_of(frame)
            if self._clock.follows(stamp, seconds):
                yield frame
            else:
                yield from self._clock.place(frame, stamp=stamp, seconds=seconds)
        if self._clock is not None:
            yield from self._clock.finish()

    def _begin(self, stamp: float | None) -> SampleClock[AudioFrame]:
        """Start the clock at the first frame, which may come late in the media."""
        lead_in = self._opening.lead_in_before(stamp)
        if MIN_LEAD_IN_SECONDS <= lead_in <= min(MAX_LEAD_IN, self._max_seconds):
            self.lead_in_seconds = lead_in
        clock: SampleClock[AudioFrame] = SampleClock(
            start=self.lead_in_seconds,
            max_hole_seconds=self._max_hole_seconds,
            max_seconds=self._max_seconds,
        )
        if self._opening.has_jump or lead_in > MAX_LEAD_IN:
            clock.jumps.append(0.0)
        return clock

    def _read_frames(self) -> Iterator[AudioFrame]:
        for packet in self._read_packets():
            try:
                frames = packet.decode()
            except MemoryError as error:
                raise InvalidMediaError(TOO_MUCH_MEMORY) from error
            except MEDIA_ERRORS:
                self.undecodable_packets += 1
                continue
            for frame in frames:
                if isinstance(frame, AudioFrame) and frame.samples:
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
                self._opening.note_start(stream.start_time * stream.time_base)
        packets = self._container.demux(timed)
        for number in itertools.count():
            if number % PACKETS_BETWEEN_STOP_CHECKS == 0:
                _check_stop(self._should_stop)
            try:
                packet = next(packets, None)
            except ExitError as error:
                raise InvalidMediaError(
                    Sentence("Reading the file took too long.")
                ) from error
            except MemoryError as error:
                raise InvalidMediaError(TOO_MUCH_MEMORY) from error
            except MEDIA_ERRORS as error:
                # What was decoded so far stands, as for a file cut short.
                self._read_error = error
                return
            if packet is None:
                return
            if packet.stream.index == self._stream.index:
                if packet.size:
                    self._is_last_corrupt = packet.is_corrupt
                yield packet
            elif self._clock is not None:
                packet.stream.discard = Discard.all
            elif packet.pts is not None and packet.time_base is not None:
                # The header's start of a video can be too late, as no picture is
                # decoded when the file is opened.
                self._opening.note_time(packet.pts * packet.time_base)


class _Converter:
    """Turns frames of one format, layout and rate into 16 kHz mono samples."""

    def __init__(self, frame: AudioFrame, channels: ChannelWatch) -> None:
        self._channels = channels
        self._form = _form_of(frame)
        self._block = min(frame.sample_rate * BLOCK_SECONDS, MAX_BLOCK_SAMPLES)
        self._time_base = Fraction(1, frame.sample_rate)
        self._fifo = AudioFifo()
        self._resampler = _mono_resampler()
        # Whether the resampler gets one channel in place of all.
        self._is_single = False

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
            yield from self._mix(self._fifo.read(self._block))

    def flush(self) -> Iterator[Samples]:
        """Yield what is left."""
        if self._fifo.samples:
            yield from self._mix(self._fifo.read())
        yield from self._resample(None)

    def _mix(self, block: AudioFrame | None) -> Iterator[Samples]:
        """Resample a block, or one channel of it if all together are silent."""
        if block is None:
            return
        single = self._channels.rescue(block)
        if (single is not None) != self._is_single:
            yield from self._resample(None)
            self._resampler = _mono_resampler()
            self._is_single = not self._is_single
        yield from self._resample(single or block)

    def _resample(self, frame: AudioFrame | None) -> Iterator[Samples]:
        with media_errors(UNSUPPORTED):
            resampled = self._resampler.resample(frame)
        for piece in resampled:
            # Without work to do the resampler hands back even the None.
            if piece is not None and piece.samples:
                yield piece.to_ndarray().astype(np.int16, copy=False).reshape(-1)


def _seconds_of(frame: AudioFrame) -> float:
    rate = frame.sample_rate
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise InvalidMediaError(UNSUPPORTED)
    return frame.samples / rate


def _mono_resampler() -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _form_of(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _too_long(max_seconds: float) -> MediaTooLongError:
    return MediaTooLongError(
        Sentence(
            "The media is longer than the {seconds:g} seconds allowed.",
            seconds=max_seconds,
        )
    )


def first_name(format_name: str) -> str:
    """FFmpeg's name of a file's format: the first of "mov,mp4,m4a,3gp,3g2,mj2"."""
    return format_name.partition(",")[0]


def _lacks_stated_samples(facts: MediaFacts, count: int) -> bool:
    """Whether FLAC, whose encoder counts samples, states more than there are."""
    stated = facts.duration_seconds or 0.0
    return (
        facts.format_name == "flac"
        and stated - count / SAMPLE_RATE > LONGEST_FLAC_FRAME_SECONDS
    )


def max_hole_seconds(container: InputContainer) -> float:
    """How long a hole in the time stamps of a file may be to be believed."""
    flags: int = container.format.flags
    if flags & int(Flags.ts_discont.value):  # type: ignore[call-overload]
        return MAX_HOLE_SECONDS_OF_BROADCAST
    return MAX_HOLE_SECONDS


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that goes again if the body ends in an error."""
    # No fsync: after a power cut the task is prepared again.
    with path.open("wb") as file:
        try:
            yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _check_stop(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise TaskCancelledError(Sentence("The task was cancelled."))


def _never() -> bool:
    return False
