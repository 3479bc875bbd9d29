"""What clients see of a result: text, segments and words, subtitles, the language."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from transcription.documents.encoding import Document
from transcription.media.subtitles import SRT, Cue, readable, render_srt, render_vtt
from transcription.models import Transcript, TranscriptionTask
from transcription.notices import NoticeCode, shown
from whisperhub.sentences import translated


def result_document(
    transcript: Transcript, *, with_language_probabilities: bool = False
) -> Document:
    """A finished transcript with its segments and words (`ResultSerializer`).

    Args:
        transcript: the row.
        with_language_probabilities: also that of each of about a hundred languages.
    """
    task = transcript.task
    more = (
        {"language_probabilities": _probabilities(transcript)}
        if with_language_probabilities
        else {}
    )
    return {
        "id": str(task.public_id),
        "task_type": task.task_type,
        "text": transcript.text,
        # A row has an empty one where nobody speaks.
        "language": transcript.language or None,
        "language_probability": transcript.language_probability,
        **more,
        "duration": transcript.duration_seconds,
        "duration_after_vad": transcript.duration_after_vad_seconds,
        "segments": transcript.segments,
        "options": transcript.options,
        "model": transcript.model,
        "timings": _timings(task),
        "notices": _notices(transcript),
    }


def language_detection_document(transcript: Transcript) -> Document:
    """Which language is spoken (`LanguageDetectionSerializer` describes it)."""
    return {
        "id": str(transcript.task.public_id),
        "language": transcript.language or None,
        "language_probability": transcript.language_probability,
        "language_probabilities": _probabilities(transcript),
        "duration": transcript.duration_seconds,
        "model": transcript.model,
        "notices": _notices(transcript),
    }


def subtitles(transcript: Transcript, output_format: str) -> str:
    """The segments as SubRip or WebVTT.

    Args:
        transcript: with segments.
        output_format: `srt` or `vtt`.
    """
    cues = [
        Cue(segment["start"], segment["end"], segment["text"])
        for segment in transcript.segments
    ]
    render = render_srt if output_format == SRT else render_vtt
    return render(readable(cues))


def subtitles_file_name(task: TranscriptionTask, output_format: str) -> str:
    """What the file of a task's subtitles is called: as its media, or as the task."""
    stem = task.file_name.rpartition(".")[0] or task.file_name or str(task.public_id)
    return f"{stem}.{output_format}"


def _probabilities(transcript: Transcript) -> dict[str, float]:
    # A database may give back 1 for 1.0.
    return {
        code: float(value) for code, value in transcript.language_probabilities.items()
    }


def _timings(task: TranscriptionTask) -> Document:
    """Seconds spent in each stage: differences of the task's moments."""
    return {
        "preparation": _between(task.preparation_started_at, task.queued_at),
        "queue": _between(task.queued_at, task.started_at),
        "inference": task.inference_seconds,
        "total": _between(task.created_at, task.finished_at),
    }


def _between(first: datetime | None, last: datetime | None) -> float | None:
    if first is None or last is None:
        return None
    return round((last - first).total_seconds(), 3)


def _notices(transcript: Transcript) -> list[dict[str, Any]]:
    """Those of the task, then what its model says of all its results."""
    of_model = [
        {"code": str(NoticeCode.MODEL), "message": translated(text), "details": {}}
        for text in transcript.notices
    ]
    return [shown(notice) for notice in transcript.task.notices] + of_model
