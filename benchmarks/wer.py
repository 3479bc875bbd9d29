"""Whether chunks are heard as well as the library hears the whole, at temperature 0.

The bundled recordings are taken apart into sentences, and these put together anew: in
other orders, with short and long pauses, loud and quiet, with some noise. The words are
known, so the errors of both paths can be counted.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from faster_whisper import WhisperModel
from tqdm import tqdm

from benchmarks.material import (
    bundled,
    library_arguments,
    load_engine,
    load_library,
)
from benchmarks.report import Report
from transcription.accuracy import ErrorCount, count_errors
from transcription.audio import SAMPLE_RATE
from transcription.engines import demo_model
from transcription.engines.base import Segment, SilentListener
from transcription.engines.faster_whisper import FasterWhisperEngine
from transcription.engines.options import DecodeOptions, VadParameters
from transcription.engines.speech import (
    FRAME_SAMPLES,
    find_runs,
    speech_probabilities,
)
from transcription.samples import Samples, to_float

SENTENCE_END: Final = re.compile(r"(?<=[.。])\s*")
LANGUAGES: Final = ("en", "es", "zh")
# Times --repeat.
RECORDINGS_PER_LANGUAGE: Final = 8
SENTENCES: Final = (4, 24)
PAUSES_SECONDS: Final = (0.3, 0.3, 0.6, 1.2, 2.5, 6.0)
GAINS: Final = (0.2, 0.5, 1.0)
# Standard deviation of the noise, of full scale.
NOISES: Final = (0.0, 0.0, 0.0005, 0.002)
MOST_POINTS: Final = 0.5
FULL_SCALE: Final = 32_767


@dataclass(frozen=True)
class Recording:
    """Speech of which the words are known."""

    samples: Samples
    text: str
    language: str


def run(report: Report) -> None:
    """Count errors over the set, compare with the library, listen to nothing."""
    engine, library = load_engine(report), load_library(report)
    all_auto = all_off = ErrorCount()
    different: list[dict[str, Any]] = []
    recordings = list(recording_set(report.repeat))
    for number, recording in enumerate(tqdm(recordings, desc="wer", unit="recording")):
        options = DecodeOptions(
            language=recording.language,
            temperature=(0.0,),
            word_timestamps=number % 2 == 1,
        )
        auto = text_of(engine, recording, options)
        off = replace(options, batching="off")
        ordered = engine.transcribe(recording.samples, off, SilentListener())
        errors_auto, errors_off = (
            count_errors(recording.text, text, language=recording.language)
            for text in (auto, ordered.text)
        )
        all_auto += errors_auto
        all_off += errors_off
        if errors_auto != errors_off:
            different.append(
                {
                    "recording": number,
                    "reference": recording.text,
                    "auto": auto,
                    "off": ordered.text,
                }
            )
        if not same_as_library(library, recording, off, ordered.segments):
            report.data.setdefault("off_differs", []).append(number)
    invented = [
        name
        for name, samples in tqdm(list(nothing()), desc="nothing", unit="recording")
        if engine.transcribe(
            samples, DecodeOptions(temperature=(0.0,)), SilentListener()
        ).text
    ]
    report.data |= {"different": different, "invented_in": invented}
    points = 100 * (all_auto.rate - all_off.rate)
    report.figure("auto", 100 * all_auto.rate, "%")
    report.figure("off", 100 * all_off.rate, "%")
    report.figure("words", all_off.tokens, "")
    report.figure("off_unlike_library", len(report.data.get("off_differs", [])), "")
    report.figure("invented", len(invented), "")
    report.judge(
        f"auto-off<={MOST_POINTS}points,off=library,invented=0",
        met=points <= MOST_POINTS and "off_differs" not in report.data and not invented,
    )


def text_of(
    engine: FasterWhisperEngine, recording: Recording, options: DecodeOptions
) -> str:
    """What our chunked path hears."""
    return engine.transcribe(recording.samples, options, SilentListener()).text


@cache
def sentences(language: str) -> list[tuple[Samples, str]]:
    """The sentences of a bundled recording, each with the silence around it cut."""
    sample = next(s for s in demo_model.samples() if s.language == language)
    texts = [
        part for part in re.split(r"(?<=[.。])\s*", sample.texts[language]) if part
    ]
    samples = bundled(language)
    runs = find_runs(speech_probabilities(samples), VadParameters())
    pauses = sorted(
        ((left.end, right.start) for left, right in pairwise(runs)),
        key=lambda pause: pause[0] - pause[1],
    )[: len(texts) - 1]
    cuts = [(first + last) * FRAME_SAMPLES // 2 for first, last in sorted(pauses)]
    pieces = np.split(samples, cuts)
    return list(zip(pieces, texts, strict=True))


def recording_set(rounds: int) -> Iterator[Recording]:
    """The recordings, the same ones in every run."""
    chance = random.Random(0)
    noise = np.random.default_rng(0)
    for language in LANGUAGES * (RECORDINGS_PER_LANGUAGE * rounds):
        parts: list[Samples] = []
        texts: list[str] = []
        for _ in range(chance.randint(*SENTENCES)):
            samples, text = chance.choice(sentences(language))
            pause = round(chance.choice(PAUSES_SECONDS) * SAMPLE_RATE)
            parts += [samples, np.zeros(pause, dtype=np.int16)]
            texts.append(text)
        sound = to_float(np.concatenate(parts)) * chance.choice(GAINS)
        level = chance.choice(NOISES)
        sound = sound + level * noise.standard_normal(len(sound), dtype=np.float32)
        yield Recording(as_samples(sound), " ".join(texts), language)


def as_samples(sound: Any) -> Samples:
    """Sound in [-1, 1] as int16."""
    return np.asarray(np.clip(sound, -1, 1) * FULL_SCALE, dtype=np.int16)


def nothing() -> Iterator[tuple[str, Samples]]:
    """Recordings in which nobody speaks."""
    noise = np.random.default_rng(1)
    for seconds in (1, 12, 65):
        count = seconds * SAMPLE_RATE
        time = np.arange(count) / SAMPLE_RATE
        yield f"silence {seconds} s", np.zeros(count, dtype=np.int16)
        for level in (0.001, 0.03, 0.3):
            sound = level * noise.standard_normal(count)
            yield f"white noise {level} {seconds} s", as_samples(sound)
        for hertz in (50, 1000):
            tone = 0.1 * np.sin(2 * np.pi * hertz * time)
            yield f"tone {hertz} Hz {seconds} s", as_samples(tone)
        clicks = np.where(np.arange(count) % 8000 == 0, 0.8, 0.0)
        yield f"clicks {seconds} s", as_samples(clicks)


def same_as_library(
    library: WhisperModel,
    recording: Recording,
    options: DecodeOptions,
    ours: list[Segment],
) -> bool:
    """Whether segments are the library's own, field by field."""
    heard, _ = library.transcribe(
        to_float(recording.samples), **library_arguments(options)
    )
    theirs = [
        # Its ids count from 1.
        {**asdict(segment), "id": segment.id - 1}
        for segment in heard
    ]
    return theirs == [segment.as_dict() for segment in ours]
