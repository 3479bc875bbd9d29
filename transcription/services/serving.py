"""Which models are served: what the slot table and the plan say."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models.functions import Now

from transcription.documents.served_models import ServedModel
from transcription.engines.abilities import TRANSCRIBE, check_abilities
from transcription.engines.languages import LANGUAGE_CODES
from transcription.engines.plan import DEMO, parse_plan
from transcription.engines.spec import ENGINES
from transcription.errors import UnknownModelError
from transcription.models import WorkerSlot
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)

# A model stays known this long after its last slot was seen: its tasks wait for it.
REMEMBERED: Final = timedelta(days=1)
# A slot that misses this many beats in a row is not live.
LIVE_BEATS: Final = 5

# What a slot shows until its engine has chosen.
UNDECIDED: Final = frozenset({"", "default", "auto"})

State = WorkerSlot.State
# The best state of a model's slots is the model's state.
STATE_ORDER: Final = (
    State.READY,
    State.LOADING,
    State.DRAINING,
    State.FAILED,
    State.STOPPED,
)


def live_slots() -> Iterable[WorkerSlot]:
    """Slots whose heart beats."""
    patience = timedelta(seconds=LIVE_BEATS * settings.HEARTBEAT_SECONDS)
    return WorkerSlot.objects.filter(last_seen_at__gt=Now() - patience).exclude(
        state__in=[State.STOPPED, State.FAILED]
    )


def current_revisions(model: str, engine: str) -> set[str]:
    """The revisions of a model that a task may get now; none if nobody can tell.

    Without a live slot, that of the last one.
    """
    slots = [
        slot for slot in live_slots() if (slot.model, slot.engine) == (model, engine)
    ]
    if not slots:
        slots = list(
            WorkerSlot.objects.filter(
                model=model, engine=engine, last_seen_at__gt=Now() - REMEMBERED
            ).order_by("-last_seen_at")[:1]
        )
    return {slot.model_revision for slot in slots} - {""}


def served_models() -> list[ServedModel]:
    """Every model with a slot seen within the last day, by name."""
    live = {slot.pk for slot in live_slots()}
    by_name: dict[str, list[WorkerSlot]] = {}
    for slot in WorkerSlot.objects.filter(last_seen_at__gt=Now() - REMEMBERED):
        by_name.setdefault(slot.model, []).append(slot)
    return [
        ServedModel(
            name=name,
            engine=slots[0].engine,
            revision=slots[0].model_revision,
            state=min((_state(slot, live) for slot in slots), key=STATE_ORDER.index),
            slots=sum(slot.pk in live for slot in slots),
            compute_types=sorted({slot.compute_type for slot in slots} - UNDECIDED),
            languages=_known(slot.languages for slot in slots),
            notice=slots[0].notice,
            message=next((slot.sentence for slot in slots if slot.message), ""),
        )
        for name, slots in sorted(by_name.items())
    ]


def check_model(
    model: str, engine: str, *, language: str, task: str, multilingual: bool = False
) -> None:
    """Refuse what a model cannot do, as far as its slots have told.

    Raises:
        UnsupportedLanguageError: it does not know the language.
        UnsupportedTaskError: it knows English only.
    """
    if not language and not multilingual and task == TRANSCRIBE:
        return
    slots = WorkerSlot.objects.filter(
        model=model, engine=engine, last_seen_at__gt=Now() - REMEMBERED
    )
    known = _known(slots.values_list("languages", flat=True))
    check_abilities(
        model,
        known or ENGINES[engine].languages,
        language=language,
        task=task,
        multilingual=multilingual,
    )


def _known(languages_of_slots: Iterable[list[str]]) -> list[str]:
    """The languages that any slot of a model has named, in Whisper's order."""
    named = {code for languages in languages_of_slots for code in languages}
    return [code for code in LANGUAGE_CODES if code in named]


def _state(slot: WorkerSlot, live: set[int]) -> State:
    if slot.pk in live or slot.state == State.FAILED:
        return State(slot.state)
    return State.STOPPED


def resolve_model(name: str) -> tuple[str, str]:
    """The model that a request gets, and its engine.

    Args:
        name: as in the request; empty: the default model.

    Raises:
        UnknownModelError: nobody serves this model; the message lists those served.
    """
    served = _served_engines()
    planned = _planned_models()
    if not name:
        # Before the first slot has reported, tasks wait for what the plan names.
        name = settings.DEFAULT_MODEL or next(iter(planned), "") or _first_served()
        if name not in served:
            return name, planned.get(name, settings.ENGINE)
    if name in served:
        return name, served[name]
    if name in planned:
        return name, planned[name]
    known = ", ".join(sorted({*served, *planned}))
    raise UnknownModelError(
        Sentence(
            "No model {name!r} is served here. Served: {known}.", name=name, known=known
        )
        if known
        else Sentence("No model {name!r} is served here, nor any other yet.", name=name)
    )


def _served_engines() -> dict[str, str]:
    """The engine of each served model: less than `served_models`, for every request."""
    slots = WorkerSlot.objects.filter(last_seen_at__gt=Now() - REMEMBERED)
    engines: dict[str, str] = {}
    for model, engine in slots.values_list("model", "engine"):
        engines.setdefault(model, engine)
    return engines


def _first_served() -> str:
    """The default model where no setting names one: ready ones first."""
    served = served_models()
    ready = [model for model in served if model.state == State.READY]
    return next((model.name for model in [*ready, *served]), DEMO)


def _planned_models() -> dict[str, str]:
    """The engine of each model in the plan; none if the plan cannot be read.

    Whoever starts workers by it refuses it; requests need not fail for that.
    """
    try:
        plan = parse_plan(settings.SLOTS, default_engine=settings.ENGINE)
    except ValueError as error:
        logger.error("WHISPERHUB_SLOTS: %s", error)
        return {}
    return {slot.model: slot.engine for slot in plan}
