"""The tracks of sound in a media file, and the one that is transcribed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition

from transcription.errors import NoAudioError, NoSuchTrackError
from transcription.media.facts import AudioTrack, TrackChoice
from transcription.media.opening import MEDIA_ERRORS
from transcription.media.samples import as_floats
from whisperhub.sentences import Sentence

# So much of a track is listened to before another one is taken for its silence.
LISTEN_SECONDS = 600.0
# -60 dB of full scale: a muted microphone stays below, a whisper does not.
SOUND_LEVEL = 0.001
# What a file may call a track; the rest is cut.
LANGUAGE_LENGTH = 20
TITLE_LENGTH = 100

# In one frame of a codec; a second of 192 kHz in eight channels has 1.5 million.
MAX_FRAME_SAMPLES = 8_388_608


def list_tracks(container: InputContainer) -> list[AudioTrack]:
    """Describe the tracks of sound of an open file.

    Raises:
        NoAudioError: there is none.
    """
    streams = container.streams.audio
    if not streams:
        raise NoAudioError(Sentence("The file has no audio."))
    return [_describe(index, stream) for index, stream in enumerate(streams)]


def ranked_tracks(
    tracks: Sequence[AudioTrack], choice: TrackChoice | None = None
) -> list[AudioTrack]:
    """The tracks that may be transcribed, the one that a player would take first.

    A track without a decoder comes after all others.

    Raises:
        NoSuchTrackError: none is the one that is wanted.
    """
    fitting = [track for track in tracks if choice is None or choice.fits(track)]
    if choice is not None and not fitting:
        raise NoSuchTrackError(
            Sentence(
                "The file has no audio track {wanted}. It has: {tracks}. Submit it "
                "again with one of these as audio_track, or without.",
                wanted=choice.wanted,
                tracks=", ".join(_name(track) for track in tracks),
            )
        )
    return sorted(fitting, key=lambda track: (not track.codec, not track.is_default))


def first_with_sound(
    container: InputContainer,
    tracks: Sequence[AudioTrack],
    *,
    check: Callable[[], None],
) -> AudioTrack:
    """Listen to the tracks of an open file until the first of them is heard.

    What the first one holds in its first minutes decides: if that is silence, then the
    next one that was heard by then is taken, or else the first after all.

    Args:
        container: which is read from its start, and of no use afterwards.
        tracks: the one to prefer first.
        check: called often; raises to stop.
    """
    streams = {}
    for track in tracks:
        stream = container.streams.audio[track.index]
        with contextlib.suppress(*MEDIA_ERRORS):
            open_decoder(stream)
            streams[stream.index] = track.index
    for other in container.streams:
        if other.index not in streams:
            other.discard = Discard.all
    heard: set[int] = set()
    first = tracks[0]
    seconds = dict.fromkeys((track.index for track in tracks), 0.0)
    try:
        for packet in container.demux(container.streams.audio):
            check()
            index = streams.get(packet.stream.index)
            if index is None or index in heard or seconds[index] >= LISTEN_SECONDS:
                continue
            for frame in _decode(packet):
                seconds[index] += frame.samples / max(frame.sample_rate, 1)
                if has_sound(frame):
                    heard.add(index)
                    break
            if first.index in heard or seconds[first.index] >= LISTEN_SECONDS:
                break
    except MEDIA_ERRORS:
        # Whoever decodes the file meets it again, and tells.
        pass
    return next((track for track in tracks if track.index in heard), first)


def open_decoder(stream: AudioStream) -> None:
    """Make a stream ready to be decoded, with a limit on what one frame may cost."""
    codec = stream.codec_context
    codec.options = {"max_samples": str(MAX_FRAME_SAMPLES)}
    codec.open(strict=False)


def has_sound(frame: AudioFrame) -> bool:
    """Whether a frame is more than silence."""
    samples = as_floats(frame)
    return samples is None or bool(np.abs(samples).max(initial=0.0) >= SOUND_LEVEL)


def _decode(packet: Any) -> list[AudioFrame]:
    try:
        frames = packet.decode()
    except MEDIA_ERRORS:
        return []
    return [frame for frame in frames if isinstance(frame, AudioFrame)]


def _describe(index: int, stream: AudioStream) -> AudioTrack:
    codec = stream.codec_context if can_decode(stream) else None
    return AudioTrack(
        index=index,
        language=_label(stream, "language", LANGUAGE_LENGTH),
        title=_label(stream, "title", TITLE_LENGTH),
        codec=codec.codec.canonical_name if codec else "",
        channels=codec.channels or None if codec else None,
        is_default=bool(stream.disposition & Disposition.default),
    )


def _label(stream: AudioStream, name: str, length: int) -> str:
    text = stream.metadata.get(name, "").strip()
    # The code for "not determined".
    return "" if text == "und" else text[:length]


def _name(track: AudioTrack) -> str:
    return f"{track.index} ({track.language})" if track.language else str(track.index)


def can_decode(stream: AudioStream) -> bool:
    """Whether this FFmpeg has a decoder for the stream."""
    # PyAV types the context as always there; it is None without a decoder.
    return bool(stream.codec_context)
