"""Which running slots use the models on this machine."""

from __future__ import annotations

from django.db import DatabaseError

from transcription.engines.plan import model_slug
from transcription.engines.store.installed import StoredModel
from transcription.services.serving import live_slots


def slots_using(stored: StoredModel) -> list[str]:
    """The names of the live slots that hold a model; none if the database is away."""
    models = {model_slug(name) for name in stored.names}
    try:
        return [slot.name for slot in live_slots() if slot.model in models]
    except DatabaseError:
        return []
