"""What benchmarks are made of: speech of any length, models, sides in turn."""

from __future__ import annotations

import statistics
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from faster_whisper import WhisperModel
from tqdm import tqdm

from benchmarks.report import Report
from tools import scripted_model
from transcription.audio import SAMPLE_RATE
from transcription.engines import demo_model
from transcription.engines.faster_whisper import FasterWhisperEngine
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import DEMO, parse_slot
from transcription.samples import Samples

MODELS_DIR: Final = Path("var/benchmarks/models")
PAUSE_SECONDS: Final = 0.3
# Both sides of every comparison decode like this.
OPTIONS: Final = DecodeOptions(language="en", temperature=(0.0,))


@cache
def bundled(language: str) -> Samples:
    """One of the bundled recordings."""
    sample = next(s for s in demo_model.samples() if s.language == language)
    with wave.open(str(sample.path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)


@cache
def _round() -> Samples:
    """All bundled recordings one after the other, a breath between them."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), dtype=np.int16)
    parts = [(bundled(sample.language), pause) for sample in demo_model.samples()]
    return np.concatenate([part for pair in parts for part in pair])


def speech(seconds: float, *, offset_seconds: float = 0.0) -> Samples:
    """Speech of any length: the bundled recordings again and again.

    Args:
        seconds: how long.
        offset_seconds: where in the round to begin, so that clips differ.
    """
    one = _round()
    first = round(offset_seconds * SAMPLE_RATE) % len(one)
    count = round(seconds * SAMPLE_RATE)
    rounds = -(-(first + count) // len(one))
    return np.tile(one, rounds)[first : first + count]


def model_path(name: str, *, device: str = "cpu") -> str:
    """What an engine is told to load.

    A shape of tools/scripted_model.py is built at its first use: the cost of the real
    model, with a text that is always the same. Everything else goes through as it is.
    """
    if name not in scripted_model.SHAPES:
        return name
    quantization = "float32" if device == "cpu" else "float16"
    folder = MODELS_DIR / quantization / name
    if not (folder / "config.json").exists():
        print(f"building the model {name} ({quantization})")
        scripted_model.build(folder, name, quantization=quantization)
    return str(folder.resolve())


def load_engine(report: Report) -> FasterWhisperEngine:
    """Our engine as a slot has it, with the report's model, on its device."""
    from django.conf import settings

    path = model_path(report.model, device=report.device)
    engine = FasterWhisperEngine(
        parse_slot(f"{report.device}={path}", 0, "faster-whisper"),
        model_dir=settings.MODEL_DIR,
        cpu_threads=settings.CPU_THREADS,
        batch_size=settings.BATCH_SIZE,
    )
    engine.load()
    report.data["compute_type"] = engine.info.compute_type
    report.data["batch_size"] = engine.batch_size
    return engine


def load_library(report: Report) -> WhisperModel:
    """faster-whisper as it is, with the same model and as many threads."""
    from django.conf import settings

    path = model_path(report.model, device=report.device)
    if path == DEMO:
        path = str(demo_model.ctranslate2_folder(settings.MODEL_DIR))
    return WhisperModel(path, device=report.device, cpu_threads=settings.CPU_THREADS)


def library_arguments(options: DecodeOptions) -> dict[str, Any]:
    """Our options as faster-whisper's own arguments, for both of its pipelines."""
    return {
        "language": options.language or None,
        "task": options.task,
        "beam_size": options.beam_size,
        "best_of": options.best_of,
        "patience": options.patience,
        "temperature": list(options.temperature),
        "condition_on_previous_text": options.condition_on_previous_text,
        "vad_filter": options.vad_filter,
        "word_timestamps": options.word_timestamps,
        "without_timestamps": False,
    }


def take_turns(
    report: Report, sides: Mapping[str, Callable[[], object]]
) -> dict[str, list[float]]:
    """Time each side once a round; every other round in the other order.

    Each side goes once before, uncounted.

    Returns:
        The seconds of each side, by round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rounds = 1 + report.repeat
    with tqdm(total=rounds * len(sides), desc=report.name, unit="run") as bar:
        for number in range(rounds):
            names = list(sides)[:: 1 if number % 2 else -1]
            for name in names:
                bar.set_postfix_str(name)
                began = time.perf_counter()
                sides[name]()
                if number:
                    seconds[name].append(time.perf_counter() - began)
                bar.update()
    report.data["seconds"] = seconds
    return seconds


@dataclass
class ModelRows:
    """Decoder calls of the real model, and the rows in them.

    Attributes:
        size: rows that a call may have.
    """

    size: int
    calls: int = 0
    rows: int = 0

    @property
    def fill(self) -> float:
        """How full the calls were: 1 is full."""
        return self.rows / max(1, self.calls) / self.size


@contextmanager
def model_rows(engine: FasterWhisperEngine) -> Iterator[ModelRows]:
    """Count what the engine's model is called with, for the length of a block."""
    counted = ModelRows(engine.batch_size)
    whisper = engine.whisper
    calls, rows = whisper.model_calls["generate"], whisper.model_rows["generate"]
    yield counted
    counted.calls = whisper.model_calls["generate"] - calls
    counted.rows = whisper.model_rows["generate"] - rows


def speedup(slow: list[float], fast: list[float]) -> float:
    """How many times as fast the second side is: the median over the rounds."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))
