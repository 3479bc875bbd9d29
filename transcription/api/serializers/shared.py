"""What several answers hold."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

NOTICES_HELP = _(
    "What a reader of the result must know: where sound is missing, say, or which "
    "track was taken."
)


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
