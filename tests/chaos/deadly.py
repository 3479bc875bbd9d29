"""Recordings that end the process which works on them, and what makes them do so.

tests/chaos/settings.py puts these pieces into a service's processes. Nothing outside of
the tests names that module, so that no recording can do this to a real service.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.support.engines import GATE_VARIABLE, HeldEngine
from transcription.engines.base import Engine, JobListener, Transcription
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import SlotPlan
from transcription.samples import Samples

# A file that begins so ends its decoder, as a library's bug would.
DEADLY_FILE: Final = b"Whoever decodes this file dies.\n"
# Samples that begin so end whoever transcribes them: no speech has such a shape.
DEADLY_SOUND: Final = np.array([12_345, -12_345] * 8, np.int16)
# A slot whose name begins so takes one job at a time; others take several.
SINGLE: Final = "single"


def die() -> None:
    """End this process as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_of_deadly_files(decode: Callable[..., Any]) -> Callable[..., Any]:
    """Make `decode_to_samples` end its process at a deadly file."""

    @functools.wraps(decode)
    def decode_or_die(path: Path, destination: Path, **options: Any) -> Any:
        with path.open("rb") as file:
            if file.read(len(DEADLY_FILE)) == DEADLY_FILE:
                # As far as a decoder comes before it meets what it dies of.
                destination.touch()
                die()
        return decode(path, destination, **options)

    return decode_or_die


def deadly_samples(samples: Samples) -> Samples:
    """The same recording, but deadly to transcribe."""
    return np.concatenate([DEADLY_SOUND, samples])


class ChaosEngine(HeldEngine):
    """The real engine of a slot; its jobs can be held, and a deadly one ends it."""

    def __init__(self, engine: Engine, folder: Path, *, single: bool) -> None:
        super().__init__(engine, folder)
        self._single = single

    def load(self) -> None:
        super().load()
        # How many the engine takes is known from now on.
        self.concurrent_jobs = 1 if self._single else self._engine.concurrent_jobs

    def transcribe(
        self, samples: Any, options: DecodeOptions, listener: JobListener
    ) -> Transcription:
        self.wait_at_gate(listener)
        if np.array_equal(samples[: len(DEADLY_SOUND)], DEADLY_SOUND):
            die()
        return self._engine.transcribe(samples, options, listener)


def create_engine(
    slot: SlotPlan, *, model_dir: Path, cpu_threads: int, batch_size: int
) -> ChaosEngine:
    """Make the engine of a slot; see `registry.create_engine`."""
    from transcription.engines import faster_whisper

    engine = faster_whisper.create(
        slot, model_dir=model_dir, cpu_threads=cpu_threads, batch_size=batch_size
    )
    folder = Path(os.environ[GATE_VARIABLE])
    return ChaosEngine(engine, folder, single=slot.name.startswith(SINGLE))
