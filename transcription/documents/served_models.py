"""What clients see of the models that requests may name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from transcription.documents.encoding import Document
from whisperhub.sentences import translated


@dataclass(frozen=True)
class ServedModel:
    """One model as clients see it.

    Attributes:
        state: ready, loading, draining, failed or stopped.
        slots: how many processes hold it now.
        compute_types: how its slots compute, such as int8; none until one has loaded.
        languages: the codes of those that it knows; none until a slot has loaded it.
        notice: what readers of its results must know; usually empty.
        message: why it failed; usually empty.
    """

    name: str
    engine: str
    revision: str
    state: str
    slots: int
    compute_types: list[str]
    languages: list[str]
    notice: str
    message: str


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
        "compute_types": model.compute_types,
        "languages": model.languages,
        "notice": translated(model.notice),
        "message": translated(model.message),
    }
