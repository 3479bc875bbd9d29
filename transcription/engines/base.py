"""What every engine is and returns: the protocol, segments, words, languages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from transcription.audio import WINDOW_SAMPLES
from transcription.engines.options import DecodeOptions
from transcription.notices import Notice
from transcription.samples import Samples

DETECTION_WINDOWS = 4

# Called with the seconds of media that are done; raises to stop the engine.
Progress = Callable[[float], None]


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
        language: Whisper's code, if it was detected for each chunk; else None.
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
    language: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As stored and sent."""
        return asdict(self)


class JobListener(Protocol):
    """The job an engine works for: hears of its progress, tells it to stop."""

    # 0 is the most urgent.
    priority: int
    # Owners of one priority share the model; jobs without one count as of one owner.
    owner_id: int | None

    def __call__(self, seconds_done: float) -> None:
        """Hear how many seconds of the media are done; raises if the job is to stop."""
        ...

    def check(self) -> None:
        """Raise if the job is to stop."""
        ...

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Have something called, in any thread, as soon as the job is to stop."""
        ...

    def segments(self, segments: list[Segment]) -> None:
        """Hear of segments that are final, in the order of the media."""
        ...


class SilentListener:
    """A job that is never stopped and wants to know nothing; its priority is normal."""

    priority = 1
    owner_id: int | None = None

    def __call__(self, seconds_done: float) -> None:
        """Hear of progress."""

    def check(self) -> None:
        """Go on."""

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Never call it."""

    def segments(self, segments: list[Segment]) -> None:
        """Hear of segments."""


@dataclass(frozen=True)
class ModelCall:
    """A call of the model that is under way.

    Attributes:
        began_at: by `time.monotonic`; tells one call from the next.
        jobs: those it works for, as far as they are known.
    """

    began_at: float
    jobs: frozenset[JobListener]


@dataclass(frozen=True)
class Transcription:
    """What an engine heard in one recording; no language if nobody speaks."""

    text: str
    language: str | None
    language_probability: float | None
    duration_seconds: float
    duration_after_vad_seconds: float | None
    segments: list[Segment]
    language_probabilities: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)


@dataclass(frozen=True)
class LanguageDetection:
    """Which language is spoken.

    Attributes:
        language: Whisper's code of the most probable one; None if nobody speaks.
        probability: its probability, 0 to 1.
        probabilities: all of them, most probable first.
    """

    language: str | None
    probability: float | None
    probabilities: dict[str, float]
    notices: list[Notice] = field(default_factory=list)


@dataclass(frozen=True)
class ModelInfo:
    """The model a process holds, as shown to clients.

    Attributes:
        name: a slug, never a path.
        revision: what tells two models of one name apart; empty if unknown.
        notice: what readers of its results must know; usually empty.
        languages: the codes of those that it knows; none if that is not known.
    """

    name: str
    revision: str
    engine: str
    device: str
    compute_type: str
    notice: str = ""
    languages: tuple[str, ...] = ()

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

    @property
    def concurrent_jobs(self) -> int:
        """How many jobs the model takes at the same time."""
        ...

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        ...

    @property
    def model_call(self) -> ModelCall | None:
        """The call of the model that is under way; None when it rests."""
        ...

    def load(self) -> None:
        """Load the model and decode something, so that the first job finds it warm.

        Raises:
            ModelUnavailableError: it cannot be found, fetched or loaded.
        """
        ...

    def transcribe(
        self, samples: Samples, options: DecodeOptions, listener: JobListener
    ) -> Transcription:
        """Turn samples into text.

        Raises:
            Whatever the listener raises: the job is to stop.
        """
        ...

    def detect_language(
        self,
        samples: Samples,
        listener: JobListener,
        *,
        windows: int = DETECTION_WINDOWS,
    ) -> LanguageDetection:
        """Tell the language from so many windows of 30 s, spread over the speech.

        Raises:
            Whatever the listener raises: the job is to stop.
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


def spread_windows(n_samples: int, windows: int) -> list[int]:
    """Where to listen for the language: first samples of windows of 30 s.

    The first and the last window are among them, the rest lie evenly between; a
    recording of one window or less has one.
    """
    last = max(0, n_samples - WINDOW_SAMPLES)
    count = min(windows, -(-n_samples // WINDOW_SAMPLES)) or 1
    if count == 1:
        return [0]
    return [round(last * number / (count - 1)) for number in range(count)]


def average_probabilities(
    windows: list[dict[str, float]], weights: Sequence[float] = ()
) -> LanguageDetection:
    """The mean over windows of the probability of each language.

    Args:
        windows: for each the probabilities by language.
        weights: of the windows, such as seconds of speech; none: all alike.
    """
    shares = list(weights) or [1.0] * len(windows)
    mean = {
        language: sum(
            share * window.get(language, 0.0)
            for share, window in zip(shares, windows, strict=True)
        )
        / sum(shares)
        for language in windows[0]
    }
    ordered = dict(sorted(mean.items(), key=lambda item: -item[1]))
    language, probability = next(iter(ordered.items()))
    return LanguageDetection(language, probability, ordered)
