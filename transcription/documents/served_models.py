"""What clients see of the models that requests may name."""

from __future__ import annotations

from collections.abc import Iterable

from transcription.documents.encoding import Document
from transcription.services.serving import ServedModel
from whisperhub.sentences import translated


def model_list_document(models: Iterable[ServedModel]) -> Document:
    """All models (`ModelListSerializer` describes it)."""
    return {"results": [model_document(model) for model in models]}


def model_document(model: ServedModel) -> Document:
    """A model that a request may name (`ServedModelSerializer` describes it)."""
    return {
        "name": model.name,
        "engine": model.engine,
        "revision": model.revision,
        "state": str(model.state),
        "slots": model.slots,
        "languages": model.languages,
        "notice": translated(model.notice),
        "message": translated(model.message),
    }
