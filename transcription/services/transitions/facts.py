"""What is known of a task's media and result, as columns; copies to another task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from transcription.models import Transcript, TranscriptionTask
from transcription.services.storable import storable

if TYPE_CHECKING:
    # At run time this would bring numpy into the web process.
    from transcription.media.facts import DecodedAudio

# What is known of the media; the same for every task with the same bytes.
MEDIA_FACTS: Final = (
    "media_format",
    "audio_codec",
    "sample_rate",
    "channels",
    "has_video",
    "media_duration_seconds",
    "audio_tracks",
)
# What of a transcript is copied to another task.
TRANSCRIPT_FIELDS: Final = tuple(
    field.attname
    for field in Transcript._meta.concrete_fields
    if field.attname not in ("task_id", "created_at")
)


def columns_of(decoded: DecodedAudio) -> dict[str, Any]:
    """What a decoder process found out about a task's media, as columns of the task."""
    facts = decoded.facts
    return {
        "media_format": facts.format_name[:50],
        "audio_codec": (facts.audio_codec or "")[:50],
        "sample_rate": facts.sample_rate,
        "channels": facts.channels,
        "has_video": facts.has_video,
        "media_duration_seconds": decoded.duration_seconds,
        "audio_tracks": storable(
            [
                {**track.as_dict(), "taken": track.index == decoded.track}
                for track in decoded.tracks
            ]
        ),
    }


def copied_from(source: TranscriptionTask) -> dict[str, Any]:
    """The facts of another task's media, as columns."""
    return {name: getattr(source, name) for name in MEDIA_FACTS}


def copy_transcript(source: TranscriptionTask, *, task_id: int) -> None:
    """Give a task a copy of another's transcript, in the caller's transaction."""
    found = Transcript.objects.get(task_id=source.pk)
    Transcript.objects.create(
        task_id=task_id, **{name: getattr(found, name) for name in TRANSCRIPT_FIELDS}
    )
