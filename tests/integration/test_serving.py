"""Which models are served, and which one a request gets."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.support.factories import SlotFactory
from transcription.errors import (
    UnknownModelError,
    UnsupportedLanguageError,
    UnsupportedTaskError,
)
from transcription.models import WorkerSlot
from transcription.services.serving import (
    check_model,
    live_slots,
    resolve_model,
    served_models,
)

pytestmark = pytest.mark.django_db

State = WorkerSlot.State


def test_no_slot_serves_no_model():
    assert served_models() == []


def test_a_model_counts_its_living_slots():
    SlotFactory(model="small", model_revision="r1")
    SlotFactory(model="small", silent=True)
    SlotFactory(model="demo", demo=True)

    demo, small = served_models()

    assert (demo.name, demo.state, demo.slots) == ("demo", "ready", 1)
    assert demo.notice.startswith("demo model")
    assert (small.name, small.state, small.slots) == ("small", "ready", 1)
    assert (small.revision, small.engine, small.notice) == ("r1", "faster-whisper", "")


@pytest.mark.parametrize(
    ("traits", "state"),
    [
        ({"state": State.READY}, "ready"),
        ({"state": State.LOADING}, "loading"),
        ({"state": State.DRAINING}, "draining"),
        ({"state": State.STOPPED}, "stopped"),
        ({"state": State.FAILED}, "failed"),
        ({"state": State.READY, "silent": True}, "stopped"),
        ({"state": State.LOADING, "silent": True}, "stopped"),
        ({"state": State.FAILED, "silent": True}, "failed"),
    ],
)
def test_a_model_is_in_the_state_of_its_slot(traits, state):
    SlotFactory(**traits)

    (model,) = served_models()

    assert model.state == state
    assert model.slots == (state not in ("stopped", "failed"))


def test_a_model_knows_what_any_of_its_slots_has_named():
    SlotFactory(model="small", languages=["yue", "en"])
    SlotFactory(model="small", languages=["zh", "en"])
    SlotFactory(model="small", state=State.LOADING)

    (model,) = served_models()

    assert model.languages == ["en", "zh", "yue"]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"language": "yue", "task": "transcribe"}, UnsupportedLanguageError),
        ({"language": "en", "task": "transcribe"}, None),
        ({"language": "es", "task": "translate"}, None),
        ({"language": "", "task": "detect_language"}, None),
    ],
)
@pytest.mark.parametrize("silent", [False, True])
def test_what_a_model_does_not_know_is_refused(asked, error, silent):
    SlotFactory(model="small", languages=["en", "es"], silent=silent)
    SlotFactory(model="other", languages=["yue"])

    with pytest.raises(error, match="'yue'") if error else nullcontext():
        check_model("small", "faster-whisper", **asked)


@pytest.mark.parametrize("task", ["translate", "detect_language"])
def test_a_model_of_english_alone_neither_translates_nor_detects(task):
    SlotFactory(model="base.en", languages=["en"])

    with pytest.raises(UnsupportedTaskError, match=r"'base\.en' knows English only"):
        check_model("base.en", "faster-whisper", language="", task=task)


@pytest.mark.parametrize("task", ["transcribe", "translate", "detect_language"])
def test_a_model_that_no_slot_has_loaded_is_asked_for_anything(task):
    SlotFactory(model="small", state=State.LOADING)
    SlotFactory(model="forgotten", languages=["en"], forgotten=True)

    for model in ("small", "forgotten", "planned"):
        check_model(model, "faster-whisper", language="yue", task=task)


@pytest.mark.parametrize(
    ("states", "best"),
    [
        ([State.FAILED, State.READY, State.LOADING], "ready"),
        ([State.FAILED, State.LOADING], "loading"),
        ([State.STOPPED, State.DRAINING], "draining"),
        ([State.STOPPED, State.FAILED], "failed"),
    ],
)
def test_the_best_slot_speaks_for_its_model(states, best):
    for state in states:
        SlotFactory(state=state)

    (model,) = served_models()

    assert model.state == best


def test_a_failed_slot_says_why():
    SlotFactory(state=State.FAILED, message="The model cannot be loaded.")

    (model,) = served_models()

    assert model.message == "The model cannot be loaded."


def test_a_model_is_forgotten_after_a_day():
    SlotFactory(forgotten=True)

    assert served_models() == []


def test_live_slots_beat_and_run():
    alive = SlotFactory()
    SlotFactory(silent=True)
    SlotFactory(state=State.FAILED)
    SlotFactory(state=State.STOPPED)

    assert list(live_slots()) == [alive]


# --- The model of a request ----------------------------------------------------------


def test_a_named_model_gets_the_engine_of_its_slot():
    SlotFactory(model="small", engine="openai-whisper")

    assert resolve_model("small") == ("small", "openai-whisper")


def test_a_planned_model_is_known_before_its_slot_reports(settings):
    settings.SLOTS = "cpu=small@openai-whisper, cpu=tiny"

    assert resolve_model("small") == ("small", "openai-whisper")


def test_a_stopped_model_of_today_is_still_known():
    SlotFactory(model="small", silent=True)

    assert resolve_model("small") == ("small", "faster-whisper")


def test_an_unknown_model_is_refused_with_those_that_are_served(settings):
    settings.SLOTS = "cpu=tiny"
    SlotFactory(model="small")

    with pytest.raises(UnknownModelError) as caught:
        resolve_model("large-v3")

    assert caught.value.message == (
        "No model 'large-v3' is served here. Served: small, tiny."
    )


def test_where_nothing_is_served_yet_the_message_says_so():
    with pytest.raises(UnknownModelError, match="nor any other yet"):
        resolve_model("large-v3")


def test_the_default_is_the_demo_model_where_nothing_else_is_known():
    assert resolve_model("") == ("demo", "faster-whisper")


def test_the_operators_default_comes_first(settings):
    settings.DEFAULT_MODEL = "tiny"
    settings.SLOTS = "cpu=small, cpu=tiny@openai-whisper"

    assert resolve_model("") == ("tiny", "openai-whisper")


def test_the_first_planned_model_is_the_default_without_one(settings):
    settings.SLOTS = "cpu=small, cpu=tiny"
    SlotFactory(model="demo")

    assert resolve_model("") == ("small", "faster-whisper")


def test_a_ready_model_is_the_default_without_a_plan():
    SlotFactory(model="a-stopped", state=State.STOPPED)
    SlotFactory(model="b-ready")

    assert resolve_model("") == ("b-ready", "faster-whisper")


def test_a_plan_that_cannot_be_read_fails_no_request(settings, caplog):
    settings.SLOTS = "nonsense"
    SlotFactory(model="small")

    assert resolve_model("small") == ("small", "faster-whisper")
    assert resolve_model("") == ("small", "faster-whisper")
    assert "WHISPERHUB_SLOTS: 'nonsense' is not of the form" in caplog.text
