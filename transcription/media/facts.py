"""What is known of a media file, and of the samples made of it.

No decoder is imported here: workers hear these from the process that decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from transcription.audio import SAMPLE_RATE
from transcription.media.clock import Hole
from transcription.notices import Notice


@dataclass(frozen=True)
class MediaFacts:
    """What the headers of one file say; None where they do not.

    Headers lie, and some formats have only an estimate: use `duration_seconds` for
    display and progress, never as the length.
    """

    format_name: str
    duration_seconds: float | None
    # Cover art is no video.
    has_video: bool
    audio_streams: int
    # These describe the stream that is transcribed, and bit_rate the whole file if the
    # stream has none of its own.
    audio_codec: str | None
    sample_rate: int | None
    channels: int | None
    bit_rate: int | None


@dataclass(frozen=True)
class AudioTrack:
    """One track of sound, as the file describes it.

    Attributes:
        index: among the tracks of sound, from 0.
        language: as the file has it, such as eng; empty: it does not tell.
        codec: empty: there is no decoder for it here.
        is_default: whether players take it unless they are told otherwise.
    """

    index: int
    language: str
    title: str
    codec: str
    channels: int | None
    is_default: bool

    def as_dict(self) -> dict[str, Any]:
        """As stored and sent."""
        values = asdict(self)
        values["default"] = values.pop("is_default")
        return values


@dataclass(frozen=True)
class TrackChoice:
    """The track that a client wants: by its index or by its language.

    Attributes:
        wanted: in the client's words.
        index: None: by language.
        speaks: whether a track's language is the one; None: by index.
    """

    wanted: str
    index: int | None = None
    speaks: Callable[[str], bool] | None = None

    def fits(self, track: AudioTrack) -> bool:
        """Whether a track is the one that is wanted."""
        if self.speaks is not None:
            return self.speaks(track.language)
        return track.index == self.index


@dataclass(frozen=True)
class DecodedAudio:
    """What became of one file; its samples lie in the destination."""

    facts: MediaFacts
    sample_count: int
    # Silence put first because the audio starts later than the media.
    lead_in_seconds: float
    undecodable_packets: int
    # Silence put where sound is missing.
    holes: list[Hole] = field(default_factory=list)
    # All that the file has, and the index of the one that was decoded.
    tracks: list[AudioTrack] = field(default_factory=list)
    track: int = 0
    notices: list[Notice] = field(default_factory=list)

    @property
    def duration_seconds(self) -> float:
        """The length of the samples, lead-in included."""
        return self.sample_count / SAMPLE_RATE
