"""Callbacks, their attempts and their secrets as JSON."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from transcription.models import CallbackSecret


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
