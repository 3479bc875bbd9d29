"""Which slots use the models that lie on this machine."""

from __future__ import annotations

from django.db import DatabaseError

from transcription.models import WorkerSlot


def slots_by_model() -> dict[str, list[str]]:
    """The names of the slots of each model; none where the tables are not made yet."""
    slots: dict[str, list[str]] = {}
    try:
        for model, name in WorkerSlot.objects.values_list("model", "name"):
            slots.setdefault(model, []).append(name)
    except DatabaseError:
        return {}
    return slots
