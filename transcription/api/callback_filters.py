"""Filters of the list of callbacks."""

from __future__ import annotations

from django_filters import rest_framework as filters

from transcription.models import Callback


class CallbackFilter(filters.FilterSet):
    """Narrows the list of callbacks."""

    state = filters.ChoiceFilter(choices=Callback.State.choices)
    event = filters.ChoiceFilter(choices=Callback.Event.choices)
    created_after = filters.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="gte", label="At this moment or later."
    )
    created_before = filters.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="lt", label="Before this moment."
    )

    class Meta:
        model = Callback
        fields = ["state", "event", "created_after", "created_before"]
