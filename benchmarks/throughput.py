"""Many short clips at once on one model, against the library without a service.

Three sides, all from the same prepared samples, with the same model, options and number
of model threads:

- `ours`: one thread a clip calls the engine, as the threads of a worker do;
- `library`: faster-whisper as it is, one clip after the other;
- `batched`: the windows that our side decodes, cut, turned into features and sent
  through CTranslate2 in full batches, in one thread: nothing but the work.

`model` is `batched` without its voice detection and features, which are made before.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

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
from transcription.engines.base import SilentListener
from transcription.engines.faster_whisper import FasterWhisperEngine
from transcription.engines.speech import plan_chunks, speech_probabilities
from transcription.samples import Samples, to_float

CLIPS: Final = 16
CLIP_SECONDS: Final = 39.0
# Clips begin at different places in the bundled recordings.
OFFSET_SECONDS: Final = 2.7
LEAST_OF_BATCHED: Final = 0.9
LEAST_OF_LIBRARY: Final = {"cpu": 1.3, "cuda": 3.0}
MAX_INITIAL_TIMESTAMP_INDEX: Final = 50


def run(report: Report) -> None:
    """Measure the sides in turns."""
    engine, library = load_engine(report), load_library(report)
    clips = [
        speech(CLIP_SECONDS, offset_seconds=number * OFFSET_SECONDS)
        for number in range(CLIPS)
    ]
    windows = [window for clip in clips for window in windows_of(clip)]
    features = [features_of(library, window) for window in windows]
    size = engine.batch_size
    report.data["windows"] = len(windows)

    def batched() -> None:
        found = [features_of(library, w) for clip in clips for w in windows_of(clip)]
        decode_batches(library, found, size)

    with ThreadPoolExecutor(CLIPS) as pool, model_rows(engine) as counted:
        seconds = take_turns(
            report,
            {
                "ours": partial(ours, engine, clips, pool),
                "library": lambda: one_by_one(library, clips),
                "batched": batched,
                "model": lambda: decode_batches(library, features, size),
            },
        )
    of_batched = speedup(seconds["batched"], seconds["ours"])
    of_library = speedup(seconds["library"], seconds["ours"])
    least = LEAST_OF_LIBRARY[report.device.partition(":")[0]]
    report.figure("of_batched", of_batched, "x")
    report.figure("of_library", of_library, "x")
    report.figure("of_model_alone", speedup(seconds["model"], seconds["ours"]), "x")
    report.figure("audio_per_second", CLIPS * CLIP_SECONDS / min(seconds["ours"]), "s")
    report.figure("batch_fill", counted.fill, "")
    report.judge(
        f"of_batched>={LEAST_OF_BATCHED},of_library>={least}",
        met=of_batched >= LEAST_OF_BATCHED and of_library >= least,
    )


def ours(
    engine: FasterWhisperEngine, clips: list[Samples], pool: ThreadPoolExecutor
) -> None:
    """All clips at once, a thread each."""
    jobs = [
        pool.submit(engine.transcribe, clip, OPTIONS, SilentListener())
        for clip in clips
    ]
    for job in jobs:
        job.result()


def one_by_one(library: WhisperModel, clips: list[Samples]) -> None:
    """faster-whisper's own loop, clip after clip."""
    for clip in clips:
        heard, _ = library.transcribe(to_float(clip), **library_arguments(OPTIONS))
        for _segment in heard:
            pass


def windows_of(clip: Samples) -> list[Samples]:
    """The stretches of a clip that the chunked path decodes."""
    probabilities = speech_probabilities(clip)
    chunks, _ = plan_chunks(probabilities, OPTIONS.vad_parameters, len(clip))
    return [clip[chunk.start : chunk.end] for chunk in chunks]


def features_of(library: WhisperModel, window: Samples) -> Any:
    """A window as the model takes it: (mels, 3000)."""
    return pad_or_trim(library.feature_extractor(to_float(window))[:, :-1])


def decode_batches(library: WhisperModel, features: list[Any], size: int) -> None:
    """Full batches, one after the other, with the engine's own arguments."""
    tokenizer = Tokenizer(
        library.hf_tokenizer,
        library.model.is_multilingual,
        task=OPTIONS.task,
        language=OPTIONS.language,
    )
    prompt = library.get_prompt(tokenizer, [], without_timestamps=False)
    suppressed = get_suppressed_tokens(tokenizer, [-1])
    for start in range(0, len(features), size):
        batch = np.stack(features[start : start + size])
        library.model.generate(
            library.encode(batch),
            [prompt] * len(batch),
            beam_size=OPTIONS.beam_size,
            patience=OPTIONS.patience,
            length_penalty=OPTIONS.length_penalty,
            max_length=library.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=suppressed,
            max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP_INDEX,
        )
