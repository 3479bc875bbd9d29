"""What a callback says: the task as the API shows it, in an event's frame."""

from __future__ import annotations

from django.conf import settings
from django.db.models.functions import Length
from django.utils.translation import override

from transcription.documents.encoding import Document, iso_timestamp, json_bytes
from transcription.documents.results import result_document
from transcription.documents.tasks import Outlook, task_detail_document
from transcription.models import Callback, Transcript, TranscriptionTask


def event_body(callback: Callback) -> bytes:
    """The document that a receiver gets, from what the database says now."""
    # Receivers are programs, and nobody has asked for a language.
    with override("en"):
        if callback.task is None:
            return json_bytes(test_event_document(callback))
        result = short_result(callback.task)
        return json_bytes(event_document(callback, callback.task, result))


def event_document(
    callback: Callback, task: TranscriptionTask, result: Document | None
) -> Document:
    """A task has ended (`EventSerializer` describes it).

    Addresses begin with WHISPERHUB_PUBLIC_URL: there is no request that names a host.

    Args:
        callback: that tells of it.
        task: that has ended.
        result: its document; None if there is none, or if it is too long.
    """
    document = task_detail_document(task, Outlook(), site=settings.PUBLIC_URL)
    return {
        "type": callback.event,
        "timestamp": iso_timestamp(task.finished_at),
        "data": {**document, "result": result},
    }


def test_event_document(callback: Callback) -> Document:
    """Somebody tries whether events arrive (`TestEventSerializer` describes it)."""
    return {
        "type": callback.event,
        "timestamp": iso_timestamp(callback.created_at),
        "data": {"message": "This is a test event. No task belongs to it."},
    }


def short_result(task: TranscriptionTask) -> Document | None:
    """The result of a task, if its JSON is within WHISPERHUB_CALLBACK_RESULT_SIZE."""
    limit = settings.CALLBACK_RESULT_BYTES
    transcript = (
        # The transcript of a day is not loaded only to find it too long.
        Transcript.objects.annotate(text_length=Length("text"))
        .filter(task=task, text_length__lte=limit)
        .first()
    )
    if transcript is None:
        return None
    transcript.task = task
    result = result_document(transcript)
    return result if len(json_bytes(result)) <= limit else None
