"""The REST API: parse, call one service, answer with a document."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import quote

from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.limits import client_of
from accounts.models import User
from transcription.api.callback_serializers import CallbackDetailSerializer
from transcription.api.callbacks import TASK_ENDED
from transcription.api.examples import (
    TASK_CANCELLED,
    TASK_COMPLETED,
    TASK_PREPARING,
    TASK_QUEUED,
    TASK_WAITING,
)
from transcription.api.exceptions import TaskHasNoResultError
from transcription.api.filters import TaskQuerySerializer, listed_tasks
from transcription.api.serializers import (
    LanguageDetectionSerializer,
    ModelListSerializer,
    PendingResultSerializer,
    ProblemSerializer,
    ResultQuerySerializer,
    ResultSerializer,
    SourceLinkSerializer,
    SourceSerializer,
    SourceUploadSerializer,
    SubtitleQuerySerializer,
    TaskChangeSerializer,
    TaskCreateSerializer,
    TaskDetailSerializer,
    TaskLinkSerializer,
    TaskSerializer,
    TaskUploadSerializer,
)
from transcription.api.uploading import IDEMPOTENCY_KEY, TakesFile
from transcription.api.waiting import WaitsForTask
from transcription.documents.callbacks import callback_detail_document
from transcription.documents.encoding import Document
from transcription.documents.results import (
    language_detection_document,
    result_document,
    subtitles,
    subtitles_file_name,
)
from transcription.documents.served_models import model_list_document
from transcription.documents.tasks import (
    pending_result_document,
    task_detail_document,
    task_document,
)
from transcription.errors import AlreadyEndedError
from transcription.models import Transcript, TranscriptionTask
from transcription.services import (
    cancellation,
    outlook,
    retention,
    serving,
    steering,
    submission,
)
from whisperhub.api.addresses import site_of
from whisperhub.api.fields import flatten, query_values
from whisperhub.api.pagination import TaskListPagination, TaskPagination

IDEMPOTENCY_REPLAYED = "Idempotency-Replayed"
SUBTITLE_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt"}


def problem(description: str) -> OpenApiResponse:
    """An error answer in the OpenAPI document."""
    return OpenApiResponse(ProblemSerializer, description)


# What every operation may answer to the wrong key.
UNAUTHORIZED = {
    401: problem(
        "No API key (`not_authenticated`), or one that opens nothing "
        "(`invalid_api_key`, `api_key_expired`, `api_key_revoked`, `account_closed`)."
    ),
    403: problem(
        "The key lacks the scope (`insufficient_scope`), or its owner may not do this."
    ),
}
# For what staff may look at that belongs to others.
OTHERS_REFUSED = problem(
    "The key lacks the scope (`insufficient_scope`), or your account lacks a "
    "permission that is needed for what belongs to others (`permission_required`)."
)
NOT_FOUND = {404: problem("No task of yours has this id.")}
PRIORITY_REFUSED = {
    403: problem(
        "The key lacks the scope (`insufficient_scope`), or the priority is above the "
        "highest that it may use (`priority_not_allowed`)."
    )
}
FELL_SILENT = problem("The body stalled, or took too long (`request_timeout`).")
TOO_LARGE = problem(
    "The file (`file_too_large`), or what stands beside it (`request_too_large`), is "
    "larger than the server takes."
)
TYPE_REFUSED = problem(
    "The body is neither a form nor JSON (`unsupported_media_type`), or the file's "
    "name has an extension that the server does not accept (`type_not_allowed`)."
)
NO_ROOM = problem(
    "The key has too many unfinished tasks (`queue_quota_exceeded`), or has used its "
    "audio of this day (`audio_quota_exceeded`)."
)


def pending(task: TranscriptionTask) -> Response:
    """The answer to who asks for the result of an unfinished task."""
    return Response(
        pending_result_document(task),
        status=status.HTTP_202_ACCEPTED,
        headers={"Retry-After": "1"},
    )


def transcript_of(task: TranscriptionTask) -> Transcript:
    """The transcript of a finished task.

    Raises:
        TaskHasNoResultError: it failed or was cancelled.
    """
    if task.status == TranscriptionTask.Status.FAILED:
        raise TaskHasNoResultError(task.error_code, task.error_sentence.translated())
    if task.status == TranscriptionTask.Status.CANCELLED:
        raise TaskHasNoResultError("cancelled", _("The task was cancelled."))
    return Transcript.objects.select_related("task").get(task=task)


class AcceptAnything(DefaultContentNegotiation):
    """For answers whose type a parameter decides: their clients accept that alone."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        """The first renderer, for what is not written by the view itself."""
        return renderers[0], renderers[0].media_type


@extend_schema_view(
    list=extend_schema(
        summary="List tasks, newest first",
        description=(
            "Every filter narrows the list; without one it has all tasks of the key's "
            "owner. Pages follow each other by `next_offset`, up to 10,000, or by "
            "`next_cursor`, without an end. `total_count` is exact up to 10,000."
        ),
        parameters=[TaskQuerySerializer],
        responses={
            200: TaskSerializer(many=True),
            400: problem("A filter or page value is not allowed."),
            **UNAUTHORIZED,
            403: OTHERS_REFUSED,
        },
        examples=[TASK_COMPLETED],
    ),
    retrieve=extend_schema(
        summary="Show a task and its progress",
        description=(
            "`progress` has the share and the seconds that are done, how many tasks "
            "are before it, and when it will probably be finished."
        ),
        responses={200: TaskDetailSerializer, **UNAUTHORIZED, **NOT_FOUND},
        examples=[TASK_WAITING],
    ),
    destroy=extend_schema(
        summary="Delete a task with its transcript and media",
        description=(
            "In any state. The worker of a running task stops; nobody is told of an "
            "end of it."
        ),
        responses={204: None, **UNAUTHORIZED, **NOT_FOUND},
    ),
)
class TaskViewSet(
    TakesFile,
    GenericViewSet[TranscriptionTask],
):
    """Tasks of the key's owner."""

    file_actions = frozenset({"create"})
    serializer_class = TaskSerializer
    pagination_class = TaskListPagination
    filter_backends = ()
    lookup_field = "public_id"
    lookup_value_converter = "uuid"
    queryset = TranscriptionTask.objects.none()

    def get_queryset(self) -> QuerySet[TranscriptionTask]:
        """Another owner's task does not exist for this key."""
        return TranscriptionTask.objects.filter(owner=cast(User, self.request.user))

    def retrieve(self, request: Request, public_id: Any = None) -> Response:
        """The task, its place in the queue and when it may be done."""
        task = self.get_object()
        return Response(
            task_detail_document(task, outlook.outlook_of(task), site=site_of(request))
        )

    def list(self, request: Request) -> Response:
        """A page of the tasks that the query string asks for."""
        rows = listed_tasks(request, cast(User, request.user))
        page = self.paginate_queryset(rows) or []
        site = site_of(request)
        return self.get_paginated_response(
            [task_document(task, site=site) for task in page]
        )

    @extend_schema(
        summary="Submit a recording",
        callbacks=[TASK_ENDED],
        description=(
            "The media is a file in a form, or a direct link: `file_url`. A link is "
            "judged by its text and accepted; a worker fetches it. If it cannot be "
            "had, the task fails, and its `error.code` tells why: `blocked_address`, "
            "`not_found`, `forbidden`, `too_large`, `bad_redirect`, `bad_answer`, "
            "`web_page`; after several attempts `network`, `interrupted`, "
            "`timeout`, `tls_failed`, "
            "`rate_limited`, `upstream_error`.\n\n"
            "A file whose name has an extension that the server does not accept is "
            "refused at once. What has another extension or none, and the file of a "
            "link, is judged by its content, and then the task fails with "
            "`type_not_allowed`.\n\n"
            "A request that is sent again with the same `Idempotency-Key` is "
            "answered with the task that it made the first time; so are copies of "
            "it that arrive while the first is being handled. A key counts for its "
            "owner, and for 24 hours unless the operator chose otherwise. A request "
            "that is refused leaves no key behind.\n\n"
            "With `reuse`, a finished result of yours for the same media (by their "
            "bytes), task type, model and revision, language and options completes "
            "the task before anything is decoded; `reused_from` names its task."
        ),
        parameters=[
            OpenApiParameter(
                IDEMPOTENCY_KEY,
                {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 255,
                    "pattern": "^[!-~]([ -~]*[!-~])?$",
                },
                OpenApiParameter.HEADER,
                description="A name for this request: printable ASCII, such as a UUID.",
            ),
            OpenApiParameter(
                IDEMPOTENCY_REPLAYED,
                {"type": "string", "enum": ["true"]},
                OpenApiParameter.HEADER,
                response=[201],
                description="The task was made before, by the same request.",
            ),
        ],
        request={
            "multipart/form-data": TaskUploadSerializer,
            "application/json": TaskLinkSerializer,
        },
        responses={
            201: TaskSerializer,
            400: problem(
                "A field is missing, unknown or not allowed; the engine has no such "
                "option (`unsupported_option`); the model does not know the language "
                "(`unsupported_language`), or knows English only "
                "(`unsupported_task`); or the Idempotency-Key is none "
                "(`invalid_idempotency_key`)."
            ),
            **UNAUTHORIZED,
            **PRIORITY_REFUSED,
            409: problem(
                "Another request came with this Idempotency-Key "
                "(`idempotency_key_reused`)."
            ),
            410: problem(
                "The task that this request made was deleted "
                "(`idempotent_task_deleted`)."
            ),
            408: FELL_SILENT,
            413: TOO_LARGE,
            415: TYPE_REFUSED,
            429: NO_ROOM,
            507: problem("The server has no room for the file."),
        },
    )
    def create(self, request: Request) -> Response:
        """Queue the task of an upload or a link, once for each key."""
        client = client_of(request)
        key = request.headers.get(IDEMPOTENCY_KEY)
        form = TaskCreateSerializer(data=flatten(request))
        form.is_valid(raise_exception=True)
        owner = cast(User, request.user)
        headers: dict[str, str] = {}
        if key is None:
            task = submission.submit(
                owner, form.media, form.task_request(), client=client
            )
        else:
            answer = submission.submit_once(
                owner,
                form.media,
                form.task_request(),
                key=key,
                client=client,
            )
            task = answer.task
            if answer.replayed:
                headers[IDEMPOTENCY_REPLAYED] = "true"
        body = self._shown(task)
        return Response(
            body,
            status=status.HTTP_201_CREATED,
            headers={"Location": body["links"]["self"], **headers},
        )

    def destroy(self, request: Request, public_id: Any = None) -> Response:
        """Delete everything of a task, whatever its state."""
        retention.delete_task(self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        summary="Change the priority of a waiting task",
        description=(
            "For a task that is `preparing` or `queued`. What it had risen to by "
            "waiting is forgotten."
        ),
        request={"application/json": TaskChangeSerializer},
        responses={
            200: TaskSerializer,
            400: problem("A field is missing, unknown or not allowed."),
            **UNAUTHORIZED,
            **PRIORITY_REFUSED,
            **NOT_FOUND,
            409: problem("The task runs or has ended (`not_waiting`)."),
        },
        examples=[
            OpenApiExample("Urgent", {"priority": "high"}, request_only=True),
            TASK_QUEUED,
        ],
    )
    def partial_update(self, request: Request, public_id: Any = None) -> Response:
        """Serve it sooner or later."""
        task = self.get_object()
        form = TaskChangeSerializer(data=flatten(request))
        form.is_valid(raise_exception=True)
        steering.change_priority(
            task, form.validated_data["priority"], client=client_of(request)
        )
        return self._as_it_stands(task)

    @extend_schema(
        summary="Cancel a task",
        description=(
            "A waiting task is `cancelled` at once. A running one has "
            "`cancel_requested_at` set and is `cancelled` as soon as its worker has "
            "stopped, in a few seconds. To cancel it once more changes nothing."
        ),
        request=None,
        responses={
            200: TaskSerializer,
            **UNAUTHORIZED,
            **NOT_FOUND,
            409: problem("The task has completed or failed (`already_ended`)."),
        },
        examples=[TASK_CANCELLED],
    )
    @action(detail=True, methods=["post"], pagination_class=None)
    def cancel(self, request: Request, public_id: Any = None) -> Response:
        """Withdraw it."""
        task = self.get_object()
        if not cancellation.cancel_task(task):
            task.refresh_from_db(fields=["status"])
            if task.status != TranscriptionTask.Status.CANCELLED:
                raise AlreadyEndedError(_("The task has ended already."))
        return self._as_it_stands(task)

    @extend_schema(
        summary="Start a failed or cancelled task again",
        description=(
            "With the same id, media and options; attempts, error and the news of its "
            "end are forgotten. An upload is kept until `retry_until`, a day after the "
            "end unless the operator chose otherwise, and less if room is short; a "
            "link is fetched anew. `can_retry` tells whether it is worth a try."
        ),
        request=None,
        responses={
            200: TaskSerializer,
            **UNAUTHORIZED,
            **NOT_FOUND,
            409: problem(
                "The task neither failed nor was cancelled (`not_retryable`), or its "
                "media is gone (`media_gone`)."
            ),
            429: NO_ROOM,
        },
        examples=[TASK_PREPARING],
    )
    @action(detail=True, methods=["post"], pagination_class=None)
    def retry(self, request: Request, public_id: Any = None) -> Response:
        """Begin anew."""
        task = self.get_object()
        steering.retry_task(task, client=client_of(request))
        return self._as_it_stands(task)

    def _as_it_stands(self, task: TranscriptionTask) -> Response:
        task.refresh_from_db()
        return Response(self._shown(task))

    def _shown(self, task: TranscriptionTask) -> Document:
        return task_document(task, site=site_of(self.request))

    @extend_schema(
        summary="Get the transcript",
        parameters=[ResultQuerySerializer],
        responses={
            200: ResultSerializer,
            202: OpenApiResponse(PendingResultSerializer, "Not finished yet."),
            400: problem("A parameter does not exist, or is neither true nor false."),
            **UNAUTHORIZED,
            **NOT_FOUND,
            409: problem("The task failed or was cancelled; `code` tells why."),
        },
    )
    @action(detail=True, pagination_class=None)
    def result(self, request: Request, public_id: Any = None) -> Response:
        """Text, segments and words of a completed task."""
        query = ResultQuerySerializer(data=query_values(request))
        query.is_valid(raise_exception=True)
        task = self.get_object()
        if not task.is_finished:
            return pending(task)
        return Response(
            result_document(
                transcript_of(task),
                with_language_probabilities=query.validated_data[
                    "language_probabilities"
                ],
            )
        )

    @extend_schema(
        summary="List a task's callbacks with each attempt",
        responses={
            200: CallbackDetailSerializer(many=True),
            **UNAUTHORIZED,
            **NOT_FOUND,
        },
    )
    @action(detail=True, pagination_class=TaskPagination)
    def callbacks(self, request: Request, public_id: Any = None) -> Response:
        """What became of telling its client."""
        told = self.get_object().callbacks.select_related("task")
        page: Any = self.paginate_queryset(cast(Any, told.prefetch_related("history")))
        site = site_of(request)
        return self.get_paginated_response(
            [callback_detail_document(callback, site=site) for callback in page]
        )

    @extend_schema(
        summary="Get the transcript as subtitles",
        parameters=[SubtitleQuerySerializer],
        responses={
            (200, "application/x-subrip"): OpenApiTypes.STR,
            (200, "text/vtt"): OpenApiTypes.STR,
            (202, "application/json"): PendingResultSerializer,
            400: problem("The format is neither srt nor vtt."),
            **UNAUTHORIZED,
            **NOT_FOUND,
            409: problem("The task failed or was cancelled; `code` tells why."),
        },
    )
    @action(
        detail=True,
        pagination_class=None,
        content_negotiation_class=AcceptAnything,
    )
    def subtitles(self, request: Request, public_id: Any = None) -> HttpResponseBase:
        """A completed task's segments as SubRip or WebVTT."""
        query = SubtitleQuerySerializer(data=query_values(request))
        query.is_valid(raise_exception=True)
        task = self.get_object()
        if not task.is_finished:
            return pending(task)
        output_format = query.validated_data["output_format"]
        file_name = subtitles_file_name(task, output_format)
        return HttpResponse(
            subtitles(transcript_of(task), output_format),
            content_type=f"{SUBTITLE_TYPES[output_format]}; charset=utf-8",
            headers={
                "Content-Disposition": "attachment; filename*=UTF-8''"
                + quote(file_name, safe="")
            },
        )


class DetectLanguageView(TakesFile, WaitsForTask):
    """Tells the language of a recording."""

    file_actions = frozenset({"post"})
    # What a client of an ordinary time-out still waits for.
    wait_seconds = 30.0

    @extend_schema(
        operation_id="detect_language",
        summary="Detect the language of a recording",
        description=(
            "Waits for the answer. If it takes longer than the server waits, the "
            "answer is 202 with the id of a task whose result tells the language."
        ),
        request={
            "multipart/form-data": SourceUploadSerializer,
            "application/json": SourceLinkSerializer,
        },
        responses={
            200: LanguageDetectionSerializer,
            202: OpenApiResponse(PendingResultSerializer, "Not finished yet."),
            400: problem(
                "A field is missing, unknown or not allowed; or the model knows "
                "English only (`unsupported_task`)."
            ),
            **UNAUTHORIZED,
            **PRIORITY_REFUSED,
            409: problem("The recording could not be used; `code` tells why."),
            408: FELL_SILENT,
            413: TOO_LARGE,
            415: TYPE_REFUSED,
            429: problem(
                "The key has too many unfinished tasks (`queue_quota_exceeded`), has "
                "used its audio of this day (`audio_quota_exceeded`), or has too many "
                "requests that wait for their answers (`too_many_waiting`)."
            ),
            507: problem("The server has no room for the file."),
        },
    )
    def post(self, request: Request) -> Response:
        """Submit the recording."""
        client = client_of(request)
        form = SourceSerializer(data=flatten(request))
        form.is_valid(raise_exception=True)
        task = submission.submit(
            cast(User, request.user),
            form.media,
            form.task_request(task_type=TranscriptionTask.TaskType.DETECT_LANGUAGE),
            client=client,
        )
        return self.wait_for(task, pending(task))

    def outcome(self, task: TranscriptionTask) -> Response:
        """The language, or the task's error."""
        return Response(language_detection_document(transcript_of(task)))


class ModelListView(APIView):
    """The models that requests may name."""

    @extend_schema(
        operation_id="models_list",
        summary="List the served models",
        responses={200: ModelListSerializer, **UNAUTHORIZED},
    )
    def get(self, request: Request) -> Response:
        """Every model a slot has served within the last day."""
        return Response(model_list_document(serving.served_models()))
