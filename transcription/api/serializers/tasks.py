"""What answers say of a task; described here."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from transcription.api.serializers.shared import NOTICES_HELP, NoticeSerializer
from transcription.models import TranscriptionTask
from transcription.services.outlook import MAX_AHEAD


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
