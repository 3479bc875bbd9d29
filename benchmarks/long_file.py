"""One long file on our chunked path, against the library's batched pipeline.

Same samples, model, number of model threads, batch size, beam, language, and timestamps
on both sides. Ours does more with each window (its seek loop, the rules on silence and
repetition); theirs packs speech from which every pause was cut.
"""

from __future__ import annotations

import statistics
from typing import Final

from faster_whisper import BatchedInferencePipeline

from benchmarks.material import (
    OPTIONS,
    library_arguments,
    load_engine,
    load_library,
    model_rows,
    speech,
    speedup,
    take_turns,
)
from benchmarks.report import Report
from transcription.audio import SAMPLE_RATE
from transcription.engines.base import SilentListener
from transcription.samples import to_float

FILE_SECONDS: Final = 20 * 60.0
LEAST: Final = 0.95


def run(report: Report) -> None:
    """Measure both sides in turns."""
    engine = load_engine(report)
    pipeline = BatchedInferencePipeline(load_library(report))
    samples = speech(report.seconds or FILE_SECONDS)
    size = engine.batch_size

    def ours() -> None:
        engine.transcribe(samples, OPTIONS, SilentListener())

    def library() -> None:
        heard, _ = pipeline.transcribe(
            to_float(samples), batch_size=size, **library_arguments(OPTIONS)
        )
        for _segment in heard:
            pass

    with model_rows(engine) as counted:
        seconds = take_turns(report, {"ours": ours, "library": library})
    of_library = speedup(seconds["library"], seconds["ours"])
    report.figure("of_library", of_library, "x")
    audio_seconds = len(samples) / SAMPLE_RATE
    report.figure("audio", audio_seconds, "s")
    report.figure("real_time", audio_seconds / statistics.median(seconds["ours"]), "x")
    report.figure("batch_fill", counted.fill, "")
    report.judge(f"of_library>={LEAST}", met=of_library >= LEAST)
