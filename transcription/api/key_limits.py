"""The limits of a key in JSON."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from accounts.models import MAX_COUNT, MAX_REQUESTS_PER_MINUTE
from transcription.models import TranscriptionTask
from whisperhub.api.fields import OneOfField, refuse_unknown


class KeyLimitsSerializer(serializers.Serializer[Any]):
    """What a key may use at most; null: the server's default, 0: no limit."""

    requests_per_minute = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_REQUESTS_PER_MINUTE,
        help_text=_("So many at once; they come back evenly within a minute."),
    )
    audio_seconds_per_day = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_COUNT,
        help_text=_("Seconds of audio that are prepared in a day, in UTC."),
    )
    unfinished_tasks = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_COUNT,
        help_text=_("Tasks that have not ended."),
    )
    highest_priority = OneOfField(
        choices=TranscriptionTask.Priority.choices,
        required=False,
        allow_null=True,
        help_text=_("The highest priority that its tasks may have."),
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the limits, and that there are no others."""
        if isinstance(data, dict):
            refuse_unknown(data, self.fields)
        return super().to_internal_value(data)
