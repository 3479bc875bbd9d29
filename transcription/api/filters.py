"""Filters of lists."""

from __future__ import annotations

from django_filters import rest_framework as filters

from transcription.models import Callback, TranscriptionTask


class TaskFilter(filters.FilterSet):
    """Narrows the list; a value outside the choices is an error, not an empty list."""

    status = filters.ChoiceFilter(choices=TranscriptionTask.Status.choices)
    priority = filters.ChoiceFilter(choices=TranscriptionTask.Priority.choices)
    task_type = filters.ChoiceFilter(choices=TranscriptionTask.TaskType.choices)

    class Meta:
        model = TranscriptionTask
        fields = ["status", "priority", "task_type"]


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
