"""An upload becomes a task."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction

from accounts.models import User
from transcription.engines.options import unsupported_options
from transcription.errors import (
    EmptyUploadError,
    UnsupportedOptionError,
    UploadTooLargeError,
)
from transcription.models import TranscriptionTask
from transcription.services import hints
from transcription.services.serving import resolve_model
from transcription.storage import TaskFolder
from whisperhub.request_id import current_request_id

logger = logging.getLogger(__name__)

FILE_NAME_LENGTH = 255


@dataclass(frozen=True)
class TaskRequest:
    """What a client asks for, checked.

    Attributes:
        model: empty: the default model.
        language: Whisper's code; empty: detected.
        options: decode options other than language and task.
    """

    task_type: str = TranscriptionTask.TaskType.TRANSCRIBE
    priority: str = TranscriptionTask.Priority.NORMAL
    model: str = ""
    language: str = ""
    platform: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def submit_upload(
    owner: User, upload: UploadedFile[Any], request: TaskRequest
) -> TranscriptionTask:
    """Store an upload and queue its task; the hint leaves after the commit.

    The media is in its place before the row is seen; it goes again if the row fails.

    Raises:
        EmptyUploadError: the file has no bytes.
        UploadTooLargeError: it has too many.
        UnknownModelError: nobody serves the model.
        UnsupportedOptionError: its engine cannot honour an option.
    """
    if not upload.size:
        raise EmptyUploadError("The uploaded file is empty.")
    if upload.size > settings.MAX_UPLOAD_BYTES:
        raise UploadTooLargeError("The file is larger than this server takes.")
    model, engine = resolve_model(request.model)
    if refused := unsupported_options(engine, request.options):
        raise UnsupportedOptionError(engine, refused)
    public_id = uuid.uuid4()
    folder = TaskFolder(public_id)
    try:
        size = folder.take_upload(upload)
        with transaction.atomic():
            task = TranscriptionTask.objects.create(
                public_id=public_id,
                owner=owner,
                request_id=current_request_id.get(),
                priority=request.priority,
                effective_priority=request.priority,
                task_type=request.task_type,
                engine=engine,
                model=model,
                language=request.language,
                options=request.options,
                platform=request.platform,
                source=TranscriptionTask.Source.UPLOAD,
                file_name=clean_file_name(upload.name),
                file_size_bytes=size,
            )
            # No partial: Django reports a hook that raised by its name, which a
            # partial has not, and then raises itself.
            transaction.on_commit(lambda: hints.send_hint(task.pk), robust=True)
    except BaseException:
        folder.discard()
        raise
    logger.info("Task %s: accepted, %d bytes", public_id, size)
    return task


def clean_file_name(name: str | None) -> str:
    """The client's file name as a label: no folders, no control characters."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:FILE_NAME_LENGTH]
