"""Recordings of many sentences with known times, to measure a model on."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from tools.demo_model.grammar import Sentence
from tools.demo_model.windows import RATE, ClipSet, Samples

PAUSE_SECONDS = (0.2, 0.9)


@dataclass(frozen=True)
class Spoken:
    """One sentence of a recording; start and end in seconds."""

    start: float
    end: float
    texts: Sentence


@dataclass(frozen=True)
class Recording:
    """Sentences of one language, one after the other."""

    language: str
    samples: Samples
    sentences: tuple[Spoken, ...]

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / RATE

    def text(self, language: str) -> str:
        """All that is said, in one of the languages."""
        space = "" if language == "zh" else " "
        return space.join(s.texts[language] for s in self.sentences)


def record(
    clips: ClipSet,
    language: str,
    rng: random.Random,
    *,
    seconds: float = 1e9,
    sentences: int = 1_000_000,
) -> Recording:
    """Join random clips until the time or the number of sentences is reached.

    Args:
        clips: where the sentences come from.
        language: the one that is spoken.
        rng: the same state gives the same recording.
        seconds: no sentence ends later.
        sentences: at most this many.
    """
    parts: list[Samples] = []
    spoken: list[Spoken] = []
    n = 0
    while len(spoken) < sentences:
        i = rng.choice(clips.by_language[language])
        pause = int(rng.uniform(*PAUSE_SECONDS) * RATE) if spoken else RATE // 10
        sound = clips.samples(i)
        start, end = n + pause, n + pause + len(sound)
        if end > seconds * RATE:
            break
        parts += [np.zeros(pause, np.float32), sound]
        spoken.append(Spoken(start / RATE, end / RATE, clips.clip(i).texts))
        n = end
    parts.append(np.zeros(RATE // 5, np.float32))
    return Recording(language, np.concatenate(parts), tuple(spoken))
