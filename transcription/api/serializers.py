"""What requests and answers look like; requests are checked, answers described.

The answers themselves are made by `transcription.documents`.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from transcription.api.callback_fields import CallbackHeadersField
from transcription.api.options import (
    AUDIO_TRACK_HELP,
    AudioTrackField,
    DecodeOptionsSerializer,
    SpokenLanguageField,
)
from transcription.media.subtitles import SRT, VTT
from transcription.models import Transcript, TranscriptionTask
from transcription.services.outlook import MAX_AHEAD
from transcription.services.submission import Link, Media, TaskRequest
from whisperhub.api.fields import (
    CallbackUrlField,
    FileUrlField,
    OneOfField,
    RequestSerializer,
    TextField,
    refuse_unknown,
)

NOTICES_HELP = _(
    "What a reader of the result must know: where sound is missing, say, or which "
    "track was taken."
)

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


class HeardLanguageField(serializers.CharField):
    """The language of a result."""

    def __init__(self, **kwargs: Any) -> None:
        """Allow null."""
        super().__init__(
            allow_null=True,
            help_text=_("Whisper's code. Null: nobody speaks in the recording."),
            **kwargs,
        )


class LanguageDetectionSerializer(serializers.Serializer[Any]):
    """Which language is spoken."""

    id = serializers.UUIDField()
    language = HeardLanguageField()
    language_probability = serializers.FloatField(allow_null=True)
    language_probabilities = serializers.DictField(child=serializers.FloatField())
    duration = serializers.FloatField()
    model = ModelUsedSerializer(read_only=True)
    notices = NoticeSerializer(many=True, read_only=True, help_text=NOTICES_HELP)


class MediaSerializer(serializers.Serializer[Any]):
    """What is known of the media; empty until it is prepared."""

    duration_seconds = serializers.FloatField(allow_null=True)
    format = serializers.CharField()
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


@extend_schema_field({"type": "number", "nullable": True})
class SecondsDoneField(serializers.FloatField):
    """Seconds of the media that are transcribed; null until its length is known."""


class ProgressSerializer(serializers.Serializer[Any]):
    """How far a task is."""

    share = serializers.FloatField(
        min_value=0,
        max_value=1,
        help_text=_(
            "While a link is fetched, the share of the file that has come, if its "
            "length is known; then the share of the media that is transcribed."
        ),
    )
    seconds_done = SecondsDoneField(read_only=True, allow_null=True)
    updated_at = serializers.DateTimeField(allow_null=True)


class TaskErrorSerializer(serializers.Serializer[Any]):
    """Why a task failed, or what its next attempt is waiting for."""

    code = serializers.CharField()
    message = serializers.CharField()


class TaskLinksSerializer(serializers.Serializer[Any]):
    """Addresses that belong to a task."""

    self = serializers.URLField()
    result = serializers.URLField()
    subtitles = serializers.URLField()


class TaskSerializer(serializers.ModelSerializer[TranscriptionTask]):
    """A task as clients see it."""

    id = serializers.UUIDField(read_only=True)
    media = MediaSerializer(read_only=True)
    progress = ProgressSerializer(read_only=True)
    audio_tracks = AudioTrackSerializer(many=True, read_only=True)
    error = TaskErrorSerializer(read_only=True, allow_null=True)
    notices = NoticeSerializer(many=True, read_only=True, help_text=NOTICES_HELP)
    links = TaskLinksSerializer(read_only=True)
    can_retry = serializers.BooleanField(
        read_only=True,
        help_text=_("Whether it ended in a way that lets it start again."),
    )
    retry_until = serializers.DateTimeField(
        read_only=True,
        allow_null=True,
        help_text=_(
            "Until when its upload is kept for that, unless the server runs out of "
            "room before. Null: no such end."
        ),
    )
    callback_header_names = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text=_("Of your callback_headers; their values are shown to nobody."),
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

    progress = ProgressAndOutlookSerializer(read_only=True)


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

    id = serializers.UUIDField(read_only=True)
    progress = ProgressSerializer(read_only=True)
    segments = SegmentSerializer(
        many=True,
        read_only=True,
        help_text=_("What was heard so far, in the order of the media."),
    )

    class Meta:
        model = TranscriptionTask
        fields = ["id", "status", "progress", "segments"]
        read_only_fields = fields


class TimingsSerializer(serializers.Serializer[Any]):
    """Seconds spent in each stage."""

    preparation = serializers.FloatField(allow_null=True)
    queue = serializers.FloatField(allow_null=True)
    inference = serializers.FloatField(allow_null=True)
    total = serializers.FloatField(allow_null=True)


class ResultSerializer(serializers.ModelSerializer[Transcript]):
    """A finished transcript."""

    id = serializers.UUIDField(read_only=True)
    task_type = serializers.CharField(read_only=True)
    language = HeardLanguageField(read_only=True)
    language_probabilities = serializers.DictField(child=serializers.FloatField())
    duration = serializers.FloatField()
    duration_after_vad = serializers.FloatField(allow_null=True)
    segments = SegmentSerializer(many=True, read_only=True)
    options = serializers.DictField()
    model = ModelUsedSerializer(read_only=True)
    timings = TimingsSerializer(read_only=True)
    notices = NoticeSerializer(many=True, read_only=True, help_text=NOTICES_HELP)

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
    notice = serializers.CharField(
        help_text=_("What readers of its results must know; usually empty.")
    )
    message = serializers.CharField(help_text=_("Why it failed; usually empty."))


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
