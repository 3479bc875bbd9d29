"""Rows to JSON and requests to checked values."""

from __future__ import annotations

import uuid
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.reverse import reverse
from rest_framework.settings import api_settings

from transcription.api.callback_fields import CallbackHeadersField
from transcription.api.fields import (
    CallbackUrlField,
    FileUrlField,
    OneOfField,
    RequestSerializer,
    SentenceField,
    TextField,
    refuse_unknown,
)
from transcription.api.options import (
    AUDIO_TRACK_HELP,
    AudioTrackField,
    DecodeOptionsSerializer,
    SpokenLanguageField,
)
from transcription.media.subtitles import SRT, VTT
from transcription.models import Transcript, TranscriptionTask
from transcription.notices import NoticeCode, shown
from transcription.retries import can_retry
from transcription.services.outlook import MAX_AHEAD, outlook_of
from transcription.services.submission import Link, Media, TaskRequest
from whisperhub.sentences import translated

# Stands for an id in addresses.
SOME_ID: Final = str(uuid.UUID(int=0))
NOTICES_HELP = _(
    "What a reader of the result must know: where sound is missing, say, or which "
    "track was taken."
)
NULL_SECONDS = {"type": "number", "nullable": True}

# Languages are detected at an address of its own.
TASK_TYPES = [
    (choice.value, choice.label)
    for choice in (
        TranscriptionTask.TaskType.TRANSCRIBE,
        TranscriptionTask.TaskType.TRANSLATE,
    )
]
MODEL_STATES = ("loading", "ready", "draining", "stopped", "failed")
FILE_HELP = _(
    "Audio or video in any common format, or in those that the operator allows."
)
FILE_URL_HELP = _(
    "A direct link to audio or video, http or https, that opens without a login. "
    "Fetched by a worker; redirects are followed."
)


class SourceSerializer(RequestSerializer):
    """Where the media comes from: exactly one source."""

    file = serializers.FileField(
        required=False,
        allow_empty_file=True,
        help_text=FILE_HELP,
    )
    file_url = FileUrlField(
        required=False,
        help_text=FILE_URL_HELP,
    )
    priority = OneOfField(
        choices=TranscriptionTask.Priority.choices,
        required=False,
        help_text=_(
            "Queued tasks start in this order: high, normal, low. Left out: normal, or "
            "low if that is the highest of the key."
        ),
    )
    model = TextField(
        default="",
        allow_blank=True,
        max_length=100,
        help_text=_("The name of a served model. Left out: the default model."),
    )
    platform = TextField(
        default="",
        allow_blank=True,
        max_length=50,
        help_text=_("A free label that stays with the task."),
    )

    audio_track = AudioTrackField(required=False, help_text=AUDIO_TRACK_HELP)

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, and that there are no others."""
        refuse_unknown(data, self.fields)
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One source, no more and no less."""
        if "file" in attrs and "file_url" in attrs:
            raise serializers.ValidationError(
                {"file_url": _("Send either a file or a link, not both.")},
                code="two_sources",
            )
        if "file" not in attrs and "file_url" not in attrs:
            raise serializers.ValidationError(
                {"file": _("Send a file or a link.")}, code="required"
            )
        checked: dict[str, Any] = super().validate(attrs)
        return checked

    @property
    def media(self) -> Media:
        """The file, or the link."""
        if "file_url" in self.validated_data:
            return Link(self.validated_data["file_url"])
        upload: Media = self.validated_data["file"]
        return upload

    def task_request(self, **changes: Any) -> TaskRequest:
        """The checked values as the service takes them."""
        checked = self.validated_data
        return TaskRequest(
            **{
                "priority": checked.get("priority", ""),
                "model": checked["model"],
                "platform": checked["platform"],
                "options": {
                    name: checked[name] for name in ("audio_track",) if name in checked
                },
                **changes,
            }
        )


class TaskCreateSerializer(SourceSerializer, DecodeOptionsSerializer):
    """A request for a transcript: the media and how to treat it."""

    task_type = OneOfField(
        choices=TASK_TYPES,
        default=TranscriptionTask.TaskType.TRANSCRIBE,
        help_text=_("`transcribe`: text as spoken. `translate`: text in English."),
    )
    language = SpokenLanguageField(
        required=False,
        help_text=_(
            "The spoken language: a code such as `zh`, a BCP 47 tag such as `zh-CN`, "
            "or the name in English; in any case. `auto`, or left out: detected. "
            "`/api/v1/models/` lists the languages of each model."
        ),
    )
    callback_url = CallbackUrlField(
        required=False,
        help_text=_("An address of yours that is told when the task has ended."),
    )
    callback_headers = CallbackHeadersField(
        default=dict,
        help_text=_("Headers that go along with it, such as Authorization."),
    )
    reuse = serializers.BooleanField(
        required=False,
        help_text=_(
            "Whether a finished result of yours will do, for the same media, task "
            "type, model, language and options. Left out: as the operator chose, "
            "usually false."
        ),
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Headers go to an address only."""
        checked = super().validate(attrs)
        if checked.get("multilingual") and checked.get("language"):
            raise serializers.ValidationError(
                {
                    "language": _(
                        "With multilingual the language of each chunk is detected: "
                        "leave language out, or give auto."
                    )
                },
                code="conflict",
            )
        if checked["callback_headers"] and "callback_url" not in checked:
            raise serializers.ValidationError(
                {"callback_headers": _("Give the callback_url that they are for.")},
                code="required",
            )
        return checked

    def task_request(self, **changes: Any) -> TaskRequest:
        """The checked values as the service takes them."""
        return super().task_request(
            task_type=self.validated_data["task_type"],
            language=self.validated_data.get("language", ""),
            options=self.given_options(),
            callback_url=self.validated_data.get("callback_url", ""),
            callback_headers=self.validated_data["callback_headers"],
            reuse=self.validated_data.get("reuse", settings.REUSE_RESULTS),
            **changes,
        )


class SourceUploadSerializer(SourceSerializer):
    """A form with a recording. It may name a `file_url` in place of the file."""

    file = serializers.FileField(help_text=FILE_HELP)
    file_url = None  # type: ignore[assignment]


class SourceLinkSerializer(SourceSerializer):
    """JSON with a link to a recording."""

    file = None  # type: ignore[assignment]
    file_url = FileUrlField(help_text=FILE_URL_HELP)


class TaskUploadSerializer(TaskCreateSerializer):
    """A form with a recording. It may name a `file_url` in place of the file.

    The text `null` takes the place of JSON's null.
    """

    file = serializers.FileField(help_text=FILE_HELP)
    file_url = None  # type: ignore[assignment]


class TaskLinkSerializer(TaskCreateSerializer):
    """JSON with a link to a recording."""

    file = None  # type: ignore[assignment]
    file_url = FileUrlField(help_text=FILE_URL_HELP)


class ModelUsedSerializer(serializers.Serializer[Any]):
    """The model that made a transcript."""

    name = serializers.CharField()
    revision = serializers.CharField()
    engine = serializers.CharField()
    device = serializers.CharField()
    compute_type = serializers.CharField()


class NoticeSerializer(serializers.Serializer[Any]):
    """Something that a reader of the result must know."""

    code = serializers.CharField(help_text=_("Stable: for programs."))
    message = serializers.CharField(help_text=_("A sentence for people."))
    details = serializers.DictField(
        help_text=_(
            "What belongs to the code, by name; times are in seconds of the media."
        )
    )


def notices_of(task: TranscriptionTask) -> list[dict[str, Any]]:
    """What was noticed about the media of a task, and while it ran."""
    return [shown(notice) for notice in task.notices]


@extend_schema_field(NoticeSerializer(many=True))
class ResultNoticesField(serializers.Field[Any, Any, Any, Any]):
    """The notices of a result: those of its task, then what its model says of all."""

    def __init__(self, **kwargs: Any) -> None:
        """Take the whole transcript."""
        super().__init__(source="*", read_only=True, help_text=NOTICES_HELP, **kwargs)

    def to_representation(self, value: Transcript) -> list[dict[str, Any]]:
        """In the language of the request."""
        of_model = [
            {"code": NoticeCode.MODEL, "message": translated(text), "details": {}}
            for text in value.notices
        ]
        return notices_of(value.task) + of_model


class HeardLanguageField(serializers.CharField):
    """The language of a result; a row has an empty one where nobody speaks."""

    def __init__(self, **kwargs: Any) -> None:
        """Allow null."""
        super().__init__(
            allow_null=True,
            help_text=_("Whisper's code. Null: nobody speaks in the recording."),
            **kwargs,
        )

    def to_representation(self, value: Any) -> Any:
        """None for an empty one."""
        return value or None


class LanguageDetectionSerializer(serializers.Serializer[Any]):
    """Which language is spoken."""

    id = serializers.UUIDField(source="task.public_id")
    language = HeardLanguageField()
    language_probability = serializers.FloatField(allow_null=True)
    language_probabilities = serializers.DictField(child=serializers.FloatField())
    duration = serializers.FloatField(source="duration_seconds")
    model = serializers.SerializerMethodField()
    notices = ResultNoticesField()

    @extend_schema_field(ModelUsedSerializer)
    def get_model(self, transcript: Transcript) -> Any:
        """As stored."""
        return transcript.model


class MediaSerializer(serializers.Serializer[TranscriptionTask]):
    """What is known of the media; empty until it is prepared."""

    duration_seconds = serializers.FloatField(
        source="media_duration_seconds", allow_null=True
    )
    format = serializers.CharField(source="media_format")
    audio_codec = serializers.CharField()
    sample_rate = serializers.IntegerField(allow_null=True)
    channels = serializers.IntegerField(allow_null=True)
    has_video = serializers.BooleanField(allow_null=True)


class AudioTrackSerializer(serializers.Serializer[Any]):
    """One audio track of the media."""

    index = serializers.IntegerField(
        min_value=0, help_text=_("What `audio_track` may name it by.")
    )
    language = serializers.CharField(
        help_text=_("As the file has it, such as eng; empty if it does not tell.")
    )
    title = serializers.CharField()
    codec = serializers.CharField(
        help_text=_("Empty: the server has no decoder for it.")
    )
    channels = serializers.IntegerField(allow_null=True)
    default = serializers.BooleanField(
        help_text=_("Whether players take it unless they are told otherwise.")
    )
    taken = serializers.BooleanField(help_text=_("Whether it is the one transcribed."))


def seconds_done(task: TranscriptionTask) -> float | None:
    """Seconds of the media that are transcribed; None until its length is known."""
    if task.media_duration_seconds is None:
        return None
    return round(task.progress * task.media_duration_seconds, 2)


def moment_text(moment: datetime | None) -> str | None:
    """A moment as all answers have it, in UTC."""
    if moment is None:
        return None
    return moment.strftime(str(api_settings.DATETIME_FORMAT))


class ProgressSerializer(serializers.Serializer[TranscriptionTask]):
    """How far a task is."""

    share = serializers.FloatField(
        source="progress",
        min_value=0,
        max_value=1,
        help_text=_(
            "While a link is fetched, the share of the file that has come, if its "
            "length is known; then the share of the media that is transcribed."
        ),
    )
    seconds_done = serializers.SerializerMethodField()
    updated_at = serializers.DateTimeField(source="progress_at", allow_null=True)

    @extend_schema_field(NULL_SECONDS)
    def get_seconds_done(self, task: TranscriptionTask) -> float | None:
        """Seconds of the media that are transcribed."""
        return seconds_done(task)


class TaskErrorSerializer(serializers.Serializer[TranscriptionTask]):
    """Why a task failed, or what its next attempt is waiting for."""

    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error_message")


class TaskLinksSerializer(serializers.Serializer[TranscriptionTask]):
    """Addresses that belong to a task."""

    self = serializers.URLField()
    result = serializers.URLField()
    subtitles = serializers.URLField()


class TaskSerializer(serializers.ModelSerializer[TranscriptionTask]):
    """A task as clients see it."""

    id = serializers.UUIDField(source="public_id", read_only=True)
    media = MediaSerializer(source="*", read_only=True)
    progress = ProgressSerializer(source="*", read_only=True)
    audio_tracks = AudioTrackSerializer(many=True, read_only=True)
    error = serializers.SerializerMethodField()
    notices = serializers.SerializerMethodField(help_text=NOTICES_HELP)
    links = serializers.SerializerMethodField()
    can_retry = serializers.SerializerMethodField(
        help_text=_("Whether it ended in a way that lets it start again.")
    )
    retry_until = serializers.DateTimeField(
        source="media_expires_at",
        read_only=True,
        allow_null=True,
        help_text=_(
            "Until when its upload is kept for that, unless the server runs out of "
            "room before. Null: no such end."
        ),
    )
    callback_header_names = serializers.SerializerMethodField(
        help_text=_("Of your callback_headers; their values are shown to nobody.")
    )

    class Meta:
        model = TranscriptionTask
        fields = [
            "id",
            "status",
            "priority",
            "effective_priority",
            "task_type",
            "engine",
            "model",
            "language",
            "detected_language",
            "options",
            "platform",
            "callback_url",
            "callback_header_names",
            "reuse",
            "reused_from",
            "source",
            "file_name",
            "file_url",
            "file_size_bytes",
            "media",
            "audio_tracks",
            "progress",
            "attempts",
            "error",
            "notices",
            "created_at",
            "retried_at",
            "queued_at",
            "started_at",
            "finished_at",
            "cancel_requested_at",
            "can_retry",
            "retry_until",
            "inference_seconds",
            "links",
        ]
        read_only_fields = fields
        extra_kwargs = {
            "effective_priority": {
                "help_text": _("What it is served with; rises while it waits.")
            },
            "reused_from": {
                "help_text": _(
                    "The task whose result this one got, which may be deleted since. "
                    "Null: its result was made for it."
                )
            },
        }

    def get_callback_header_names(self, task: TranscriptionTask) -> list[str]:
        """In the order of the alphabet."""
        return sorted(task.callback_headers)

    def get_can_retry(self, task: TranscriptionTask) -> bool:
        """By its row alone."""
        return can_retry(task)

    def get_retry_until(self, task: TranscriptionTask) -> str | None:
        """When its upload goes."""
        return moment_text(task.media_expires_at)

    def to_representation(self, instance: TranscriptionTask) -> dict[str, Any]:
        """What the fields would give: on a page they take most of its time."""
        shown: dict[str, Any] = {}
        for name in self.Meta.fields:
            if made := getattr(self, f"get_{name}", None):
                shown[name] = made(instance)
                continue
            value = getattr(instance, name)
            shown[name] = moment_text(value) if isinstance(value, datetime) else value
        return shown

    def get_id(self, task: TranscriptionTask) -> str:
        """The public one."""
        return str(task.public_id)

    def get_media(self, task: TranscriptionTask) -> dict[str, Any]:
        """As `MediaSerializer` has it."""
        return {
            "duration_seconds": task.media_duration_seconds,
            "format": task.media_format,
            "audio_codec": task.audio_codec,
            "sample_rate": task.sample_rate,
            "channels": task.channels,
            "has_video": task.has_video,
        }

    def get_progress(self, task: TranscriptionTask) -> dict[str, Any]:
        """As `ProgressSerializer` has it."""
        return {
            "share": task.progress,
            "seconds_done": seconds_done(task),
            "updated_at": moment_text(task.progress_at),
        }

    @extend_schema_field(TaskErrorSerializer(allow_null=True))
    def get_error(self, task: TranscriptionTask) -> dict[str, str] | None:
        """Code and sentence, or null."""
        if not task.error_code:
            return None
        return {"code": task.error_code, "message": task.error_sentence.translated()}

    @extend_schema_field(NoticeSerializer(many=True))
    def get_notices(self, task: TranscriptionTask) -> list[dict[str, Any]]:
        """With sentences in the language of the request."""
        return notices_of(task)

    @extend_schema_field(TaskLinksSerializer)
    def get_links(self, task: TranscriptionTask) -> dict[str, str]:
        """Absolute addresses."""
        return {
            name: address.replace(SOME_ID, str(task.public_id))
            for name, address in self._addresses.items()
        }

    @cached_property
    def _addresses(self) -> dict[str, str]:
        # Made once for all tasks of a page.
        request = self.context.get("request")
        return {
            name: reverse(view, kwargs={"public_id": SOME_ID}, request=request)
            for name, view in {
                "self": "task-detail",
                "result": "task-result",
                "subtitles": "task-subtitles",
            }.items()
        }


class ProgressAndOutlookSerializer(ProgressSerializer):
    """How far a task is, and what it may expect."""

    tasks_ahead = serializers.IntegerField(
        allow_null=True,
        min_value=0,
        max_value=MAX_AHEAD,
        help_text=_(
            "How many tasks start before it, as things stand; 1,000 stands for more, "
            "too. Null: it does not wait."
        ),
    )
    estimated_finish_at = serializers.DateTimeField(
        allow_null=True,
        help_text=_(
            "By the speed of this model's latest results. Null: it has ended, or "
            "nobody can tell."
        ),
    )


class TaskDetailSerializer(TaskSerializer):
    """A task with its place in the queue."""

    progress = ProgressAndOutlookSerializer(source="*", read_only=True)

    def get_progress(self, task: TranscriptionTask) -> dict[str, Any]:
        """As `ProgressAndOutlookSerializer` has it."""
        outlook = outlook_of(task)
        return {
            **super().get_progress(task),
            "tasks_ahead": outlook.tasks_ahead,
            "estimated_finish_at": moment_text(outlook.finish_at),
        }


class TaskChangeSerializer(serializers.Serializer[Any]):
    """What of a waiting task may change."""

    priority = OneOfField(
        choices=TranscriptionTask.Priority.choices,
        help_text=_("What it is served with from now on."),
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, and that there are no others."""
        refuse_unknown(data, self.fields)
        return super().to_internal_value(data)


class WordSerializer(serializers.Serializer[Any]):
    """One timed word."""

    word = serializers.CharField()
    start = serializers.FloatField()
    end = serializers.FloatField()
    probability = serializers.FloatField()


class SegmentSerializer(serializers.Serializer[Any]):
    """A stretch of speech; times in seconds of the media."""

    id = serializers.IntegerField()
    seek = serializers.IntegerField()
    start = serializers.FloatField()
    end = serializers.FloatField()
    text = serializers.CharField()
    tokens = serializers.ListField(child=serializers.IntegerField())
    temperature = serializers.FloatField()
    avg_logprob = serializers.FloatField()
    compression_ratio = serializers.FloatField()
    no_speech_prob = serializers.FloatField()
    words = WordSerializer(many=True, allow_null=True)
    language = serializers.CharField(
        allow_null=True,
        required=False,
        help_text=_(
            "Whisper's code, with `multilingual`. Null, or left out by results of "
            "earlier releases: that of the whole."
        ),
    )


class PendingResultSerializer(serializers.ModelSerializer[TranscriptionTask]):
    """The answer to a question for a result that is not there yet."""

    id = serializers.UUIDField(source="public_id", read_only=True)
    progress = ProgressSerializer(source="*", read_only=True)
    segments = serializers.SerializerMethodField(
        help_text=_("What was heard so far, in the order of the media.")
    )

    class Meta:
        model = TranscriptionTask
        fields = ["id", "status", "progress", "segments"]
        read_only_fields = fields

    @extend_schema_field(SegmentSerializer(many=True))
    def get_segments(self, task: TranscriptionTask) -> list[Any]:
        """Of the attempt that runs; none for a task that does not."""
        if task.status != TranscriptionTask.Status.PROCESSING:
            return []
        return [segment for part in task.parts.all() for segment in part.segments]


class TimingsSerializer(serializers.Serializer[Any]):
    """Seconds spent in each stage."""

    preparation = serializers.FloatField(allow_null=True)
    queue = serializers.FloatField(allow_null=True)
    inference = serializers.FloatField(allow_null=True)
    total = serializers.FloatField(allow_null=True)


class ResultSerializer(serializers.ModelSerializer[Transcript]):
    """A finished transcript."""

    id = serializers.UUIDField(source="task.public_id", read_only=True)
    task_type = serializers.CharField(source="task.task_type", read_only=True)
    language = HeardLanguageField(read_only=True)
    language_probabilities = serializers.DictField(child=serializers.FloatField())
    duration = serializers.FloatField(source="duration_seconds")
    duration_after_vad = serializers.FloatField(
        source="duration_after_vad_seconds", allow_null=True
    )
    # Stored as they are sent: read back without going through a field each.
    segments = serializers.SerializerMethodField()
    options = serializers.DictField()
    model = serializers.SerializerMethodField()
    timings = serializers.SerializerMethodField()
    notices = ResultNoticesField()

    class Meta:
        model = Transcript
        fields = [
            "id",
            "task_type",
            "text",
            "language",
            "language_probability",
            "language_probabilities",
            "duration",
            "duration_after_vad",
            "segments",
            "options",
            "model",
            "timings",
            "notices",
        ]
        read_only_fields = fields

    @extend_schema_field(SegmentSerializer(many=True))
    def get_segments(self, transcript: Transcript) -> Any:
        """As stored."""
        return transcript.segments

    @extend_schema_field(ModelUsedSerializer)
    def get_model(self, transcript: Transcript) -> Any:
        """As stored."""
        return transcript.model

    @extend_schema_field(TimingsSerializer)
    def get_timings(self, transcript: Transcript) -> dict[str, float | None]:
        """Differences of the task's moments."""
        task = transcript.task

        def between(first: Any, last: Any) -> float | None:
            if first is None or last is None:
                return None
            return float(round((last - first).total_seconds(), 3))

        return {
            "preparation": between(task.preparation_started_at, task.queued_at),
            "queue": between(task.queued_at, task.started_at),
            "inference": task.inference_seconds,
            "total": between(task.created_at, task.finished_at),
        }


class SubtitleQuerySerializer(serializers.Serializer[Any]):
    """What subtitles are wanted."""

    output_format = OneOfField(
        choices=[SRT, VTT], default=SRT, help_text=_("SubRip or WebVTT.")
    )


class ServedModelSerializer(serializers.Serializer[Any]):
    """A model that a request may name."""

    name = serializers.CharField()
    engine = serializers.CharField()
    revision = serializers.CharField()
    state = serializers.ChoiceField(choices=MODEL_STATES)
    slots = serializers.IntegerField(help_text=_("Processes that hold it now."))
    languages = serializers.ListField(
        child=serializers.CharField(),
        help_text=_(
            "Codes of the languages that it knows. `en` alone: it neither translates "
            "nor detects languages. Empty until a process has loaded it."
        ),
    )
    notice = SentenceField(
        help_text=_("What readers of its results must know; usually empty.")
    )
    message = SentenceField(help_text=_("Why it failed; usually empty."))


class ModelListSerializer(serializers.Serializer[Any]):
    """All models."""

    results = ServedModelSerializer(many=True)


class FieldErrorSerializer(serializers.Serializer[Any]):
    """What is wrong with a field."""

    code = serializers.CharField(help_text=_("Stable: for programs."))
    message = serializers.CharField(help_text=_("A sentence for people."))


class ProblemSerializer(serializers.Serializer[Any]):
    """An error (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text=_("Stable: for programs."))
    detail = serializers.CharField(help_text=_("A sentence for people."))
    request_id = serializers.CharField()
    errors = serializers.DictField(  # type: ignore[assignment]
        child=FieldErrorSerializer(many=True),
        required=False,
        help_text=_("By field: a list of code and message."),
    )
