"""What clients see of a task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from transcription.documents.encoding import Document, iso_timestamp
from transcription.documents.links import task_links
from transcription.models import TranscriptionTask
from transcription.notices import shown
from transcription.retries import can_retry

Status = TranscriptionTask.Status

# PostgreSQL gives the members of a stored object back in an order of its own.
TRACK_FIELDS: Final = (
    "index",
    "language",
    "title",
    "codec",
    "channels",
    "default",
    "taken",
)


@dataclass(frozen=True)
class Outlook:
    """What a task may expect now.

    Attributes:
        tasks_ahead: how many start before it, as far as they are counted; None if it
            does not wait.
        finish_at: when it will probably be done; None if nobody can tell.
    """

    tasks_ahead: int | None = None
    finish_at: datetime | None = None


def task_document(task: TranscriptionTask, *, site: str) -> Document:
    """A task as lists and changes show it (`TaskSerializer` describes it).

    Args:
        task: the row.
        site: what the links begin with; see `documents.links`.
    """
    reused_from = task.reused_from
    return {
        "id": str(task.public_id),
        "status": task.status,
        "priority": task.priority,
        "effective_priority": task.effective_priority,
        "task_type": task.task_type,
        "engine": task.engine,
        "model": task.model,
        "language": task.language,
        "detected_language": task.detected_language,
        "options": task.options,
        "platform": task.platform,
        "callback_url": task.callback_url,
        "callback_header_names": sorted(task.callback_headers),
        "reuse": task.reuse,
        "reused_from": None if reused_from is None else str(reused_from),
        "source": task.source,
        "file_name": task.file_name,
        "file_url": task.file_url,
        "file_size_bytes": task.file_size_bytes,
        "media": {
            "duration_seconds": task.media_duration_seconds,
            "format": task.media_format,
            "audio_codec": task.audio_codec,
            "sample_rate": task.sample_rate,
            "channels": task.channels,
            "has_video": task.has_video,
        },
        "audio_tracks": [track_document(track) for track in task.audio_tracks],
        "progress": progress_document(task),
        "attempts": task.attempts,
        "error": _error(task),
        "notices": [shown(notice) for notice in task.notices],
        "created_at": iso_timestamp(task.created_at),
        "retried_at": iso_timestamp(task.retried_at),
        "queued_at": iso_timestamp(task.queued_at),
        "started_at": iso_timestamp(task.started_at),
        "finished_at": iso_timestamp(task.finished_at),
        "cancel_requested_at": iso_timestamp(task.cancel_requested_at),
        "can_retry": can_retry(task),
        "retry_until": iso_timestamp(task.media_expires_at),
        "inference_seconds": task.inference_seconds,
        "links": task_links(task.public_id, site=site),
    }


def task_detail_document(
    task: TranscriptionTask, outlook: Outlook, *, site: str
) -> Document:
    """A task with its place in the queue (`TaskDetailSerializer` describes it).

    Args:
        task: the row.
        outlook: what it may expect; that of a task that has ended is `Outlook()`.
        site: what the links begin with; see `documents.links`.
    """
    document = task_document(task, site=site)
    document["progress"] |= {
        "tasks_ahead": outlook.tasks_ahead,
        "estimated_finish_at": iso_timestamp(outlook.finish_at),
    }
    return document


def pending_result_document(task: TranscriptionTask) -> Document:
    """What is there of an unfinished result (`PendingResultSerializer` describes it).

    Of a task that runs, the rows of its parts are read.
    """
    return {
        "id": str(task.public_id),
        "status": task.status,
        "progress": progress_document(task),
        "segments": [segment for part in task.parts.all() for segment in part.segments]
        if task.status == Status.PROCESSING
        else [],
    }


def progress_document(task: TranscriptionTask) -> Document:
    """How far a task is (`ProgressSerializer` describes it)."""
    length = task.media_duration_seconds
    return {
        "share": task.progress,
        "seconds_done": None if length is None else round(task.progress * length, 2),
        "updated_at": iso_timestamp(task.progress_at),
    }


def _error(task: TranscriptionTask) -> Document | None:
    if not task.error_code:
        return None
    return {"code": task.error_code, "message": task.error_sentence.translated()}


def track_document(track: dict[str, Any]) -> Document:
    """One audio track of the media (`AudioTrackSerializer` describes it)."""
    return {name: track[name] for name in TRACK_FIELDS}
