"""The slot plan: how WHISPERHUB_SLOTS is read, and the names it makes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.engines.plan import (
    COMPUTE_TYPES,
    SlotPlan,
    model_slug,
    parse_plan,
    parse_slot,
)
from transcription.engines.spec import ENGINES
from whisperhub.queues import RESERVED

FASTER = "faster-whisper"


def parse(text: str) -> list[SlotPlan]:
    return parse_plan(text, default_engine=FASTER)


def parse_one(text: str) -> SlotPlan:
    (slot,) = parse(text)
    return slot


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("cpu=demo", SlotPlan("cpu-0", "cpu", "demo", FASTER, "default")),
        ("a=cpu=demo", SlotPlan("a", "cpu", "demo", FASTER, "default")),
        (
            "cuda:1=large-v3/float16",
            SlotPlan("cuda1-0", "cuda:1", "large-v3", FASTER, "float16"),
        ),
        (
            "cuda=small@openai-whisper",
            SlotPlan("cuda-0", "cuda", "small", "openai-whisper", "default"),
        ),
        (
            " a = cpu = small@faster-whisper/int8 ",
            SlotPlan("a", "cpu", "small", FASTER, "int8"),
        ),
        (
            "cpu=Systran/faster-whisper-tiny",
            SlotPlan("cpu-0", "cpu", "Systran/faster-whisper-tiny", FASTER, "default"),
        ),
        (
            "cpu=owner/name/int8_float32",
            SlotPlan("cpu-0", "cpu", "owner/name", FASTER, "int8_float32"),
        ),
        (
            "cpu=/models/large-v3",
            SlotPlan("cpu-0", "cpu", "/models/large-v3", FASTER, "default"),
        ),
        (
            "cpu=owner/name@openai-whisper/float32",
            SlotPlan("cpu-0", "cpu", "owner/name", "openai-whisper", "float32"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_slot(text, slot):
    assert parse_one(text) == slot


def test_several_slots_in_order():
    slots = parse("cuda:0=large-v3, cuda:1=large-v3,, x=cpu=small ,")

    assert [slot.name for slot in slots] == ["cuda0-0", "cuda1-1", "x"]
    assert [slot.model for slot in slots] == ["large-v3", "large-v3", "small"]


def test_an_empty_plan_has_no_slots():
    assert parse("") == []


def test_the_engine_may_be_the_operators_default():
    (slot,) = parse_plan("cpu=small", default_engine="openai-whisper")

    assert slot.engine == "openai-whisper"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("demo", "is not of the form [name=]device=model"),
        ("a=b=c=d", "is not of the form [name=]device=model"),
        ("gpu=demo", "the device is cpu, cuda or cuda:N, not 'gpu'"),
        ("cuda:x=demo", "not 'cuda:x'"),
        ("=demo", "not ''"),
        ("cpu=", "names no model"),
        ("cpu=/int8", "names no model"),
        ("cpu=small@whisper.cpp", "the engine is faster-whisper or openai-whisper"),
        ("cpu=small@", "not ''"),
    ],
)
def test_a_malformed_item_is_quoted_with_what_is_wrong(item, reason):
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        parse(f"cpu=fine, {item}")

    assert repr(item) in str(caught.value)


@pytest.mark.parametrize("plan", ["a=cpu=x, a=cpu=y", "cpu-1=cpu=x, cpu=y"])
def test_two_slots_cannot_share_a_name(plan):
    with pytest.raises(ValueError, match="two slots are called"):
        parse(plan)


@pytest.mark.parametrize(
    "plan",
    ["cpu=/a/small, cpu=/b/small", "cpu=small, cpu=openai/small", "cpu=x, cpu=X"],
)
def test_two_models_cannot_share_a_name(plan):
    with pytest.raises(ValueError, match="would be one model"):
        parse(plan)


def test_slots_can_share_a_model():
    assert [slot.model for slot in parse("cuda:0=small, cuda:1=small")] == ["small"] * 2


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("large-v3", "large-v3"),
        ("Systran/faster-whisper-tiny", "faster-whisper-tiny"),
        ("/srv/models/my model", "my-model"),
        ("/srv/models/large/", "large"),
        ("~/checkpoints/base.pt", "base"),
        ("../..", "model"),
        ("模型", "model"),
        ("prepare", "prepare-model"),
        ("/srv/callbacks", "callbacks-model"),
    ],
)
def test_a_models_public_name(model, slug):
    assert model_slug(model) == slug


@given(st.text())
def test_no_public_name_tells_a_path_or_collides_with_a_stage(model):
    slug = model_slug(model)

    assert re.fullmatch(r"[A-Za-z0-9._-]{1,86}", slug)
    assert slug.strip(".")
    assert slug not in RESERVED


@given(
    name=st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True),
    device=st.sampled_from(["cpu", "cuda", "cuda:0", "cuda:11", "auto"]),
    model=st.from_regex(r"[a-zA-Z][\w.-]{0,9}(/[a-zA-Z][\w.-]{0,9})?", fullmatch=True),
    engine=st.sampled_from(list(ENGINES)),
    compute_type=st.sampled_from(COMPUTE_TYPES),
)
def test_a_slot_reads_back_from_its_text(name, device, model, engine, compute_type):
    slot = SlotPlan(name, device, model, engine, compute_type)

    assert parse_slot(str(slot), 7, "faster-whisper") == slot
