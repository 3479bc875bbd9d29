"""An upload or a link becomes a task."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from accounts.limits import Client, client_without_key
from accounts.models import User
from transcription import storage
from transcription.database import despite_conflicts, is_outage
from transcription.engines.options import unsupported_options
from transcription.errors import (
    EmptyUploadError,
    QuotaError,
    TypeNotAllowedError,
    UnsupportedOptionError,
    UploadTooLargeError,
)
from transcription.media.types import ACCEPTED, REFUSED, extension_of
from transcription.models import TranscriptionTask
from transcription.services import idempotency, quotas, turns
from transcription.services.file_names import clean_file_name
from transcription.services.held_tasks import TASKS
from transcription.services.reuse import question_digest
from transcription.services.serving import check_model, resolve_model
from transcription.storage import keep_upload, original_of, sha256_of
from transcription.work.publishing import breaker
from whisperhub.network.links import name_in
from whisperhub.queues import PREPARE, queue_name
from whisperhub.sentences import Sentence
from whisperhub.web.request_id import current_request_id

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskRequest:
    """What a client asks for, checked.

    Attributes:
        priority: empty: normal, or the highest that its client may have.
        model: empty: the default model.
        language: Whisper's code; empty: detected.
        options: decode options other than language and task.
        callback_url: what is told when the task has ended; empty: nobody.
        callback_headers: what goes along then; by name.
        reuse: a finished result for the same media and options will do.
    """

    task_type: str = TranscriptionTask.TaskType.TRANSCRIBE
    priority: str = ""
    model: str = ""
    language: str = ""
    platform: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    callback_url: str = ""
    callback_headers: dict[str, str] = field(default_factory=dict)
    reuse: bool = False


@dataclass(frozen=True)
class Link:
    """Media that a media worker fetches.

    Attributes:
        url: without a fault that its text shows.
    """

    url: str


Media = UploadedFile[Any] | Link


@dataclass(frozen=True)
class Submission:
    """The answer to a request with an idempotency key.

    Attributes:
        replayed: the task was made before, by the same request.
    """

    task: TranscriptionTask
    replayed: bool


def submit_once(
    owner: User,
    media: Media,
    request: TaskRequest,
    *,
    key: str,
    client: Client | None = None,
) -> Submission:
    """Submit media, unless the same request with this key did before.

    Of several that arrive at the same time one makes the task. The others run into its
    unique key, which makes them wait for its commit, and answer with its task.

    Raises:
        InvalidKeyError: the key is none.
        KeyReusedError: another request came with this key.
        KeySpentError: the same one did, and its task was deleted.
        SubmissionError: see `submit_upload`.
        TypeNotAllowedError: see `submit_upload`.
    """
    facts = (
        {"file_url": media.url}
        if isinstance(media, Link)
        else idempotency.facts_of(media)
    )
    asked = idempotency.identify(owner, key, {**asdict(request), **facts})
    if first := idempotency.first_task(asked):
        return Submission(first, replayed=True)
    try:
        task = submit(
            owner,
            media,
            request,
            client=client,
            also=lambda task: idempotency.note(asked, task),
        )
    except (IntegrityError, QuotaError):
        # The first of them may be what has used up the quota.
        if first := idempotency.first_task(asked):
            return Submission(first, replayed=True)
        raise
    return Submission(task, replayed=False)


def submit(
    owner: User,
    media: Media,
    request: TaskRequest,
    *,
    client: Client | None = None,
    also: Callable[[TranscriptionTask], None] | None = None,
) -> TranscriptionTask:
    """Submit media, whichever they are; see `submit_upload` and `submit_link`."""
    if isinstance(media, Link):
        return submit_link(owner, media, request, client=client, also=also)
    return submit_upload(owner, media, request, client=client, also=also)


def submit_link(
    owner: User,
    link: Link,
    request: TaskRequest,
    *,
    client: Client | None = None,
    also: Callable[[TranscriptionTask], None] | None = None,
) -> TranscriptionTask:
    """Queue the task of a link, which nobody looks up or opens here.

    Args:
        owner: whose task it will be.
        link: where the media are.
        request: what to do with them.
        client: whose limits count; None: those of the owner without a key.
        also: called with the new row, in its transaction.

    Raises:
        PriorityNotAllowedError: the client may not have the priority.
        QuotaError: it may have no more tasks now.
        UnknownModelError: nobody serves the model.
        UnsupportedOptionError: its engine cannot honour an option.
    """
    client = client or client_without_key(owner)
    task = _insert(
        client,
        also,
        **_asked(owner, request, client),
        public_id=uuid.uuid4(),
        source=TranscriptionTask.Source.LINK,
        file_url=link.url,
        # Until its server gives it a better one.
        file_name=clean_file_name(name_in(link.url)),
    )
    logger.info("Task %s: accepted, a link", task.public_id)
    return task


def submit_upload(
    owner: User,
    upload: UploadedFile[Any],
    request: TaskRequest,
    *,
    client: Client | None = None,
    also: Callable[[TranscriptionTask], None] | None = None,
) -> TranscriptionTask:
    """Store an upload and queue its task; the hint leaves after the commit.

    The media is in its place before the row is seen; it goes again if the row fails.
    When the database is lost nobody knows whether the row is there, so the media stays;
    the sweep deletes what has no row.

    Args:
        owner: whose task it will be.
        upload: the media.
        request: what to do with it.
        client: whose limits count; None: those of the owner without a key.
        also: called with the new row, in its transaction.

    Raises:
        PriorityNotAllowedError: the client may not have the priority.
        QuotaError: it may have no more tasks now.
        EmptyUploadError: the file has no bytes.
        UploadTooLargeError: it has too many.
        TypeNotAllowedError: its name has an extension that is refused.
        UnknownModelError: nobody serves the model.
        UnsupportedOptionError: its engine cannot honour an option.
    """
    _check_size(upload)
    file_name = clean_file_name(upload.name)
    _check_type(file_name)
    client = client or client_without_key(owner)
    asked = _asked(owner, request, client)
    asked["media_sha256"] = sha256_of(upload)
    public_id = uuid.uuid4()
    files = storage.current()
    try:
        size = keep_upload(files, original_of(public_id), upload)
        task = _insert(
            client,
            also,
            **asked,
            public_id=public_id,
            source=TranscriptionTask.Source.UPLOAD,
            file_name=file_name,
            file_size_bytes=size,
        )
    except BaseException as error:
        if not (isinstance(error, Exception) and is_outage(error)):
            files.discard(public_id)
        raise
    logger.info("Task %s: accepted, %d bytes", public_id, size)
    return task


def _check_size(upload: UploadedFile[Any]) -> None:
    if not upload.size:
        raise EmptyUploadError(Sentence("The uploaded file is empty."))
    limit = settings.MAX_UPLOAD_BYTES
    if limit is not None and upload.size > limit:
        raise UploadTooLargeError(
            Sentence("The file is larger than this server takes.")
        )


def _check_type(file_name: str) -> None:
    """Refuse an upload by its name, if that has an extension which is known.

    What has another extension, or none, is judged by its content when it is decoded.

    Raises:
        TypeNotAllowedError: files of this type are not accepted.
    """
    extension = extension_of(file_name)
    if reason := REFUSED.get(extension):
        raise TypeNotAllowedError(
            Sentence(
                "Files of the type .{extension} are not accepted. {reason} If the "
                "content is of another type, rename the file.",
                extension=extension,
                reason=reason,
            )
        )
    allowed = settings.ALLOWED_TYPES
    if extension in ACCEPTED and not allowed.has_extension(extension):
        raise TypeNotAllowedError(
            Sentence(
                "This server does not accept files of the type .{extension}. It "
                "accepts: {allowed}. Convert the file, or ask the operator to allow "
                "the type.",
                extension=extension,
                allowed=str(allowed),
            )
        )


def _asked(owner: User, request: TaskRequest, client: Client) -> dict[str, Any]:
    """The columns of what a client asks for.

    Raises:
        PriorityNotAllowedError: it may not have the priority.
        UnknownModelError: nobody serves the model.
        UnsupportedOptionError: its engine cannot honour an option.
        UnsupportedLanguageError: it does not know the language.
        UnsupportedTaskError: it knows English only.
    """
    priority = request.priority or client.limits.default_priority
    quotas.check_priority(client, priority)
    model, engine = resolve_model(request.model)
    if refused := unsupported_options(engine, request.options):
        raise UnsupportedOptionError(engine, refused)
    check_model(
        model,
        engine,
        language=request.language,
        task=request.task_type,
        multilingual=request.options.get("multilingual", False),
    )
    return {
        "owner": owner,
        "quota_account_id": client.quota_account_id,
        "request_id": current_request_id.get(),
        "priority": priority,
        "effective_priority": priority,
        "task_type": request.task_type,
        "engine": engine,
        "model": model,
        "language": request.language,
        "options": request.options,
        "platform": request.platform,
        "callback_url": request.callback_url,
        "callback_headers": request.callback_headers,
        "reuse": request.reuse,
        "question_digest": question_digest(
            task_type=request.task_type,
            engine=engine,
            model=model,
            language=request.language,
            options=request.options,
        ),
    }


@despite_conflicts
def _insert(
    client: Client,
    also: Callable[[TranscriptionTask], None] | None,
    **values: Any,
) -> TranscriptionTask:
    with transaction.atomic():
        quotas.admit(client)
        lane = queue_name(PREPARE, values["effective_priority"])
        values["turn"] = turns.next_turn(lane, values["owner"].pk)
        if breaker.is_open():
            # The dispatcher sends its hint.
            return _insert_row(also, **values)
        # The row is written once, not once more for its hint. If we end before the
        # hint has left, the dispatcher finds that it is nowhere.
        task = _insert_row(also, **values, dispatched_at=Now())
        # No partial: Django reports a hook that raised by its name, which a partial
        # has not, and then raises itself.
        transaction.on_commit(lambda: TASKS.send_marked(task), robust=True)
    return task


def _insert_row(
    also: Callable[[TranscriptionTask], None] | None, **values: Any
) -> TranscriptionTask:
    task = TranscriptionTask.objects.create(**values)
    if also is not None:
        also(task)
    return task
