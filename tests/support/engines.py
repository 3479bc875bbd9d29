"""Engines for tests: a real one that can be held, and ones that misbehave."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from transcription.engines.base import (
    Engine,
    JobListener,
    LanguageDetection,
    ModelCall,
    ModelInfo,
    SilentListener,
    Transcription,
)
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import SlotPlan

# The folder in which a file called `hold` keeps every job of a held engine waiting, and
# a folder called `stuck` keeps its model from answering.
GATE_VARIABLE = "TESTS_GATE_FOLDER"
# How many jobs a held engine takes at once.
JOBS_VARIABLE = "TESTS_CONCURRENT_JOBS"
POLL_SECONDS = 0.02
# Start of transcript, language, task, no timestamps.
PLAIN_PROMPT = 4


class ScriptedEngine:
    """Does what it is told when a job comes; else hears one sentence."""

    concurrent_jobs = 1
    model_call: ModelCall | None = None

    def __init__(self, act: Any = None, languages: tuple[str, ...] = ()) -> None:
        self.act = act
        self.languages = languages
        self.calls: list[DecodeOptions] = []

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            "demo",
            "r1",
            "faster-whisper",
            "cpu",
            "int8",
            "test engine",
            self.languages,
        )

    def load(self) -> None:
        pass

    def unload(self) -> None:
        pass

    def transcribe(
        self, samples: Any, options: DecodeOptions, listener: JobListener
    ) -> Transcription:
        self.calls.append(options)
        if self.act is not None:
            self.act(listener)
        return Transcription(
            text="Hi.",
            language="en",
            language_probability=0.9,
            duration_seconds=len(samples) / 16_000,
            duration_after_vad_seconds=None,
            segments=[],
        )

    def detect_language(
        self, samples: Any, listener: JobListener, *, windows: int = 4
    ) -> LanguageDetection:
        return LanguageDetection("es", 0.8, {"es": 0.8, "en": 0.2})


class StuckModel:
    """The real model; while this folder exists, a call with a prompt never returns."""

    def __init__(self, model: Any, stuck: Path) -> None:
        self._model = model
        self._stuck = stuck

    def generate(self, features: Any, prompts: Any, **keywords: Any) -> Any:
        while len(prompts[0]) > PLAIN_PROMPT and self._stuck.exists():
            (self._stuck / "call").touch()
            time.sleep(POLL_SECONDS)
        return self._model.generate(features, prompts, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class HeldEngine:
    """The real engine of a slot, whose jobs wait while the gate is closed.

    A job with a prompt does not wait: it is the one that gets stuck in the model.

    Args:
        folder: where `hold` and `stuck` come and go; see GATE_VARIABLE.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.concurrent_jobs = int(os.environ.get(JOBS_VARIABLE, "1"))
        self._engine = engine
        self._hold = folder / "hold"
        self._stuck = folder / "stuck"

    @property
    def info(self) -> ModelInfo:
        return self._engine.info

    @property
    def model_call(self) -> ModelCall | None:
        return self._engine.model_call

    def load(self) -> None:
        self._engine.load()
        engine: Any = self._engine
        whisper = engine.whisper
        whisper._model = StuckModel(whisper._model, self._stuck)

    def unload(self) -> None:
        self._engine.unload()

    def transcribe(
        self, samples: Any, options: DecodeOptions, listener: JobListener
    ) -> Transcription:
        if not options.initial_prompt:
            self.wait_at_gate(listener)
        return self._engine.transcribe(samples, options, listener)

    def wait_at_gate(self, listener: JobListener) -> None:
        """Return once the gate is open; raises if the job is to stop."""
        # A slot that starts proves its model with such a listener; no job has one.
        if isinstance(listener, SilentListener):
            return
        while self._hold.exists():
            listener(0.0)
            time.sleep(POLL_SECONDS)

    def detect_language(
        self, samples: Any, listener: JobListener, *, windows: int = 4
    ) -> LanguageDetection:
        return self._engine.detect_language(samples, listener, windows=windows)


def create_held(
    slot: SlotPlan, *, model_dir: Path, cpu_threads: int, batch_size: int
) -> HeldEngine:
    """Make the held engine of a slot; see `registry.create_engine`."""
    from transcription.engines import faster_whisper

    engine = faster_whisper.create(
        slot, model_dir=model_dir, cpu_threads=cpu_threads, batch_size=batch_size
    )
    return HeldEngine(engine, Path(os.environ[GATE_VARIABLE]))
