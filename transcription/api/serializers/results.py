"""What answers say of a result; described here."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from transcription.api.serializers.shared import (
    NOTICES_HELP,
    HeardLanguageField,
    ModelUsedSerializer,
    NoticeSerializer,
)
from transcription.api.serializers.tasks import ProgressSerializer
from transcription.models import Transcript, TranscriptionTask


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
    language_probabilities = serializers.DictField(
        child=serializers.FloatField(),
        required=False,
        help_text=_("Only if the request asks for it."),
    )
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
