"""What requests and answers about callbacks look like.

The answers themselves are made by `transcription.documents.callbacks`.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from transcription.api.callback_fields import CallbackHeadersField
from transcription.models import Callback, CallbackAttempt, CallbackSecret
from whisperhub.api.fields import CallbackUrlField, MomentField, refuse_unknown


class CallbackLinksSerializer(serializers.Serializer[Any]):
    """Addresses that belong to a callback."""

    self = serializers.URLField()
    replay = serializers.URLField()


class CallbackSerializer(serializers.ModelSerializer[Callback]):
    """An event on its way to a receiver."""

    id = serializers.UUIDField(read_only=True, help_text=_("The `webhook-id`."))
    task = serializers.UUIDField(
        allow_null=True,
        read_only=True,
        help_text=_("Null for a test event."),
    )
    callback_url = serializers.CharField()
    callback_header_names = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text=_("In the order of the alphabet."),
    )
    attempt_count = serializers.IntegerField()
    http_status = serializers.IntegerField(
        allow_null=True, help_text=_("What the receiver answered last.")
    )
    error_code = serializers.CharField(
        help_text=_("Why there was no answer; usually empty.")
    )
    next_attempt_at = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text=_("Null if none is planned.")
    )
    links = CallbackLinksSerializer(read_only=True)

    class Meta:
        model = Callback
        fields = [
            "id",
            "event",
            "task",
            "callback_url",
            "callback_header_names",
            "state",
            "attempt_count",
            "http_status",
            "error_code",
            "created_at",
            "next_attempt_at",
            "ended_at",
            "links",
        ]
        read_only_fields = fields


class CallbackAttemptSerializer(serializers.ModelSerializer[CallbackAttempt]):
    """One try to deliver it; without a duration its end is not known yet."""

    class Meta:
        model = CallbackAttempt
        fields = [
            "number",
            "started_at",
            "duration_seconds",
            "http_status",
            "error_code",
        ]
        read_only_fields = fields


class CallbackDetailSerializer(CallbackSerializer):
    """An event with all that was tried."""

    attempts = CallbackAttemptSerializer(many=True, read_only=True)

    class Meta(CallbackSerializer.Meta):
        fields = [*CallbackSerializer.Meta.fields, "attempts"]
        read_only_fields = fields


@extend_schema_serializer(component_name="CallbackTest")
class TestRequestSerializer(serializers.Serializer[Any]):
    """Where a test event is to go."""

    callback_url = CallbackUrlField(help_text=_("An address of yours."))
    callback_headers = CallbackHeadersField(
        default=dict, help_text=_("Headers that go along with it.")
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, and that there are no others."""
        refuse_unknown(data, self.fields)
        return super().to_internal_value(data)


@extend_schema_serializer(component_name="CallbackReplay")
class ReplayRequestSerializer(serializers.Serializer[Any]):
    """Which events are to be sent once more."""

    created_after = MomentField(help_text=_("Events of this moment or later."))
    created_before = MomentField(
        default=None,
        help_text=_("Events before this moment. Left out: all up to now."),
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, and that there are no others."""
        refuse_unknown(data, self.fields)
        return super().to_internal_value(data)


class ReplaySerializer(serializers.Serializer[Any]):
    """How many events are sent once more."""

    count = serializers.IntegerField()


class FormerSecretSerializer(serializers.ModelSerializer[CallbackSecret]):
    """A secret that still signs, beside the newest one."""

    prefix = serializers.CharField(help_text=_("How it begins."))

    class Meta:
        model = CallbackSecret
        fields = ["prefix", "created_at", "expires_at"]
        read_only_fields = fields


class CallbackSecretSerializer(serializers.Serializer[Any]):
    """What proves that an event comes from here."""

    secret = serializers.CharField(
        help_text=_(
            "`whsec_` and 32 random bytes in Base64, as Standard Webhooks has it."
        )
    )
    created_at = serializers.DateTimeField()
    former = FormerSecretSerializer(
        many=True, help_text=_("Those that sign as well until they expire.")
    )
