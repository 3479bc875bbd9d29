"""Filters of the task list."""

from __future__ import annotations

from django_filters import rest_framework as filters

from transcription.models import TranscriptionTask


class TaskFilter(filters.FilterSet):
    """Narrows the list; a value outside the choices is an error, not an empty list."""

    status = filters.ChoiceFilter(choices=TranscriptionTask.Status.choices)
    priority = filters.ChoiceFilter(choices=TranscriptionTask.Priority.choices)
    task_type = filters.ChoiceFilter(choices=TranscriptionTask.TaskType.choices)

    class Meta:
        model = TranscriptionTask
        fields = ["status", "priority", "task_type"]
