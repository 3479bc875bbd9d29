"""Makes the engine of a slot, and knows the one engine that this process holds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from transcription.engines.base import Engine
from transcription.engines.plan import SlotPlan
from transcription.engines.spec import ENGINES

_current: Engine | None = None


def create_engine(
    slot: SlotPlan, *, model_dir: Path, cpu_threads: int, batch_size: int = 0
) -> Engine:
    """Make the engine of a slot; nothing is loaded yet.

    Args:
        slot: what to run.
        model_dir: where downloaded and unpacked models lie.
        cpu_threads: threads for the model's arithmetic; 0: the library's choice.
        batch_size: rows of a model call at most; 0: chosen by the device.
    """
    module_name, _, function = ENGINES[slot.engine].factory.rpartition(".")
    factory = cast(
        Callable[..., Engine], getattr(importlib.import_module(module_name), function)
    )
    return factory(
        slot, model_dir=model_dir, cpu_threads=cpu_threads, batch_size=batch_size
    )


def set_current_engine(engine: Engine) -> None:
    """Make a loaded engine the one that this process's jobs use."""
    global _current
    _current = engine


def current_engine() -> Engine:
    """The engine of this process.

    Raises:
        RuntimeError: this is no inference worker.
    """
    if _current is None:
        raise RuntimeError("This process holds no model.")
    return _current
