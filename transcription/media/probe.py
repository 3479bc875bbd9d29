"""Say what a media file claims to hold, without decoding it."""

from __future__ import annotations

from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from transcription.media.facts import MediaFacts
from transcription.media.opening import (
    DEFAULT_LIMITS,
    NOT_MEDIA,
    OpeningLimits,
    media_errors,
    open_media,
)
from transcription.media.tracks import can_decode, list_tracks, ranked_tracks


def probe_media(path: Path, *, limits: OpeningLimits = DEFAULT_LIMITS) -> MediaFacts:
    """Read what the headers of a media file say.

    Raises:
        InvalidMediaError: not media, broken, or beyond the limits.
        NoAudioError: media without an audio stream.
    """
    with open_media(path, limits=limits) as container, media_errors(NOT_MEDIA):
        track = ranked_tracks(list_tracks(container))[0]
        return read_facts(container, container.streams.audio[track.index])


def has_video(container: InputContainer) -> bool:
    """Whether an open file has pictures; cover art does not count."""
    return any(
        not video.disposition & Disposition.attached_pic
        for video in container.streams.video
    )


def read_facts(container: InputContainer, stream: AudioStream) -> MediaFacts:
    """Read the facts of an open file; errors of PyAV pass through.

    Args:
        container: the file.
        stream: the one that is transcribed.
    """
    codec = stream.codec_context if can_decode(stream) else None
    duration = container.duration
    return MediaFacts(
        format_name=container.format.name,
        duration_seconds=(
            duration / av.time_base if duration is not None and duration > 0 else None
        ),
        has_video=has_video(container),
        audio_streams=len(container.streams.audio),
        audio_codec=codec.codec.canonical_name if codec else None,
        sample_rate=codec.sample_rate or None if codec else None,
        channels=codec.channels or None if codec else None,
        bit_rate=(codec.bit_rate if codec else None) or container.bit_rate or None,
    )
