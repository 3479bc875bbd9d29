"""What every engine is and returns: the protocol, options, segments, words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Whisper's own ladder: tried in turn while a window decodes badly.
TEMPERATURE_LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PREPEND_PUNCTUATIONS = "\"'“¿([{-"
APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"

Samples = NDArray[np.int16]
# Called with the seconds of media that are done; raises to stop the engine.
Progress = Callable[[float], None]


@dataclass(frozen=True)
class DecodeOptions:
    """How a recording is decoded; names and meaning are Whisper's.

    Attributes:
        task: transcribe or translate.
        language: Whisper's code; empty: detected.
        temperature: tried in turn on failure.
        vad_filter: whether stretches without speech are cut out first.
    """

    task: str = "transcribe"
    language: str = ""
    beam_size: int = 5
    temperature: tuple[float, ...] = TEMPERATURE_LADDER
    condition_on_previous_text: bool = False
    word_timestamps: bool = False
    vad_filter: bool = True
    initial_prompt: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecodeOptions:
        """Build from what a row holds; unknown names are an error."""
        known = {item.name for item in fields(cls)}
        if unknown := set(values) - known:
            raise TypeError(f"unknown decode options: {sorted(unknown)}")
        given = dict(values)
        if "temperature" in given:
            given["temperature"] = tuple(given["temperature"])
        return cls(**given)


@dataclass(frozen=True)
class Word:
    """One timed word inside a segment; times in seconds of the media."""

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Segment:
    """A stretch of speech; times in seconds of the media.

    Attributes:
        id: from 0, rising.
        seek: position of the window it was decoded in, in frames of 10 ms.
        avg_logprob: mean log probability of its tokens.
        compression_ratio: redundancy of the text; high means loops.
        no_speech_prob: probability of silence.
        words: None unless word timestamps were asked for.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As stored and sent."""
        return asdict(self)


@dataclass(frozen=True)
class Transcription:
    """What an engine heard in one recording."""

    text: str
    language: str
    language_probability: float | None
    duration_seconds: float
    duration_after_vad_seconds: float | None
    segments: list[Segment]
    language_probabilities: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelInfo:
    """The model a process holds, as shown to clients.

    Attributes:
        name: a slug, never a path.
        revision: what tells two models of one name apart; empty if unknown.
        notice: what readers of its results must know; usually empty.
    """

    name: str
    revision: str
    engine: str
    device: str
    compute_type: str
    notice: str = ""

    def as_dict(self) -> dict[str, str]:
        """As stored and sent."""
        return {
            "name": self.name,
            "revision": self.revision,
            "engine": self.engine,
            "device": self.device,
            "compute_type": self.compute_type,
        }


class Engine(Protocol):
    """One loaded Whisper model; one per worker process.

    `load` comes first and once. Samples are 16 kHz mono int16, shape (n_samples,).
    """

    # How many jobs may call `transcribe` at the same time.
    concurrent_jobs: int

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        ...

    def load(self) -> None:
        """Load the model and decode something, so that the first job finds it warm.

        Raises:
            ModelUnavailableError: it cannot be found, fetched or loaded.
        """
        ...

    def transcribe(
        self, samples: Samples, options: DecodeOptions, on_progress: Progress
    ) -> Transcription:
        """Turn samples into text.

        Raises:
            Whatever `on_progress` raises: the job is to stop.
        """
        ...

    def unload(self) -> None:
        """Free the model."""
        ...


def join_text(segments: list[Segment]) -> str:
    """The whole text: segments as written, spaces where the language writes them.

    Whisper's segments carry their own leading space, and none in languages that write
    none, so nothing is put between them.
    """
    return "".join(segment.text for segment in segments).strip()
