"""What answers say of the models that are served."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

MODEL_STATES = ("loading", "ready", "draining", "stopped", "failed")


class ServedModelSerializer(serializers.Serializer[Any]):
    """A model that a request may name."""

    name = serializers.CharField()
    engine = serializers.CharField()
    revision = serializers.CharField()
    state = serializers.ChoiceField(choices=MODEL_STATES)
    slots = serializers.IntegerField(help_text=_("Processes that hold it now."))
    compute_types = serializers.ListField(
        child=serializers.CharField(),
        help_text=_(
            "Number types that it is computed with, such as `int8` or `float16`. Empty "
            "until a process has loaded it."
        ),
    )
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
