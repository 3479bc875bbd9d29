"""Which running slots use the models on this machine."""

from __future__ import annotations

from django.db import DatabaseError

from transcription.services.serving import live_slots


def slots_by_model() -> dict[str, list[str]]:
    """The names of the live slots of each model; none if the database cannot say."""
    slots: dict[str, list[str]] = {}
    try:
        for slot in live_slots():
            slots.setdefault(slot.model, []).append(slot.name)
    except DatabaseError:
        return {}
    return slots
