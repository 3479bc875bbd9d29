"""The slot plan: which model runs on which device.

`[name=]device=model[@engine][/compute_type]`, separated by commas, for example
`cuda:0=large-v3, cuda:1=large-v3/float16, cpu=small@openai-whisper`. A model is a
Whisper name, a hub repository (`owner/name`), a local folder or file, or `demo`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transcription.engines.spec import ENGINES
from whisperhub.queues import RESERVED

DEMO: Final = "demo"
DEVICE: Final = re.compile(r"cpu|cuda(?::\d+)?|auto")
COMPUTE_TYPES: Final = (
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
)


@dataclass(frozen=True)
class SlotPlan:
    """One process to run: a device and the model it holds.

    Attributes:
        name: unique among the slots of one machine.
        device: cpu, cuda or cuda:N.
        model_size_or_path: what the engine loads.
        model: the slug that the API and the queues use.
    """

    name: str
    device: str
    model_size_or_path: str
    engine: str
    compute_type: str

    @property
    def model(self) -> str:
        """The model's public name."""
        return model_slug(self.model_size_or_path)

    def __str__(self) -> str:
        return (
            f"{self.name}={self.device}={self.model_size_or_path}"
            f"@{self.engine}/{self.compute_type}"
        )


def model_slug(model_size_or_path: str) -> str:
    """A model's public name: the last part of a path or hub name, in plain characters.

    Paths never leave the server.
    """
    last = Path(model_size_or_path.rstrip("/")).name.removesuffix(".pt")
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.")
    slug = slug[:80] or "model"
    return f"{slug}-model" if slug in RESERVED else slug


def parse_plan(text: str, *, default_engine: str) -> list[SlotPlan]:
    """Read WHISPERHUB_SLOTS.

    Raises:
        ValueError: an item is malformed, and is quoted with the expected form; or two
            slots have one name, or two models.
    """
    slots: list[SlotPlan] = []
    for item in (part.strip() for part in text.split(",")):
        if item:
            slots.append(parse_slot(item, len(slots), default_engine))
    names = [slot.name for slot in slots]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two slots are called {', '.join(sorted(doubled))}.")
    # Queues bear the model's name, and MariaDB does not tell large from small letters.
    models: dict[str, str] = {}
    for slot in slots:
        first = models.setdefault(slot.model.casefold(), slot.model_size_or_path)
        if first != slot.model_size_or_path:
            raise ValueError(
                f"{first!r} and {slot.model_size_or_path!r} would be one model, "
                f"{slot.model}, to clients. Rename a folder."
            )
    return slots


def parse_slot(item: str, position: int, default_engine: str) -> SlotPlan:
    """Read one item; `position` makes its name where it gives none.

    Raises:
        ValueError: it is malformed; it is quoted with the expected form.
    """
    form = "[name=]device=model[@engine][/compute_type]"
    name, device, model = "", "", ""
    match item.split("="):
        case [device, model]:
            pass
        case [name, device, model]:
            pass
        case _:
            raise ValueError(f"{item!r} is not of the form {form}.")
    name, device, model = name.strip(), device.strip(), model.strip()
    if not DEVICE.fullmatch(device):
        raise ValueError(
            f"{item!r}: the device is cpu, cuda or cuda:N, not {device!r}."
        )
    compute_type, engine = "default", default_engine
    # A slash also stands in folders and hub names: only a known word after it counts.
    head, slash, tail = model.rpartition("/")
    if slash and tail in COMPUTE_TYPES:
        model, compute_type = head, tail
    head, at, tail = model.rpartition("@")
    if at:
        if tail not in ENGINES:
            raise ValueError(
                f"{item!r}: the engine is {' or '.join(ENGINES)}, not {tail!r}."
            )
        model, engine = head, tail
    if not model:
        raise ValueError(f"{item!r} names no model; the form is {form}.")
    return SlotPlan(
        name=name or f"{device.replace(':', '')}-{position}",
        device=device,
        model_size_or_path=model,
        engine=engine,
        compute_type=compute_type,
    )
