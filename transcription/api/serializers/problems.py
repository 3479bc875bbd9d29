"""What an error document holds."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers


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
