"""What requests may hold; checked here."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from transcription.api.callback_fields import CallbackHeadersField
from transcription.api.options import (
    AUDIO_TRACK_HELP,
    AudioTrackField,
    DecodeOptionsSerializer,
    SpokenLanguageField,
)
from transcription.media.subtitles import SRT, VTT
from transcription.models import TranscriptionTask
from transcription.services.submission import Link, Media, TaskRequest
from whisperhub.api.fields import (
    CallbackUrlField,
    FileUrlField,
    OneOfField,
    RequestSerializer,
    TextField,
    refuse_unknown,
)

# Languages are detected at an address of its own.
TASK_TYPES = [
    (choice.value, choice.label)
    for choice in (
        TranscriptionTask.TaskType.TRANSCRIBE,
        TranscriptionTask.TaskType.TRANSLATE,
    )
]
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
        """Require exactly one source."""
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


class ResultQuerySerializer(serializers.Serializer[Any]):
    """What a result shall hold besides."""

    language_probabilities = serializers.BooleanField(
        default=False,
        help_text=_("Also give the probability of each language that was weighed."),
    )

    def to_internal_value(self, data: Any) -> Any:
        """Refuse what is not known here."""
        refuse_unknown(data, self.fields)
        return super().to_internal_value(data)


class SubtitleQuerySerializer(serializers.Serializer[Any]):
    """What subtitles are wanted."""

    output_format = OneOfField(
        choices=[SRT, VTT], default=SRT, help_text=_("SubRip or WebVTT.")
    )
