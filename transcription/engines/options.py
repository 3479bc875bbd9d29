"""Every decode option: its default, and what a request may not ask of an engine."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from transcription.audio import SAMPLE_RATE, WINDOW_SAMPLES
from transcription.engines.spec import ENGINES

# Whether model calls of several jobs, and chunks of one, may share a batch.
BATCHING: Final = ("auto", "off")

WINDOW_SECONDS: Final = WINDOW_SAMPLES / SAMPLE_RATE
# Twice what Whisper's own ladder comes to; see `DecodeOptions.hypotheses`.
MOST_HYPOTHESES: Final = 60

# Whisper's own ladder: tried in turn while a window decodes badly.
TEMPERATURE_LADDER: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PREPEND_PUNCTUATIONS: Final = "\"'“¿([{-"
APPEND_PUNCTUATIONS: Final = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class VadParameters:
    """How voice activity is told from silence (Silero).

    Attributes:
        threshold: probability above which a moment is speech.
        neg_threshold: probability below which speech ends; None: from `threshold`.
        min_speech_duration_ms: shorter speech is dropped.
        max_speech_duration_s: longer speech is split; None: never.
        min_silence_duration_ms: shorter silence does not end speech.
        speech_pad_ms: kept before and after speech.
    """

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: int = 0
    max_speech_duration_s: float | None = None
    min_silence_duration_ms: int = 2000
    speech_pad_ms: int = 400


@dataclass(frozen=True)
class DecodeOptions:
    """How a recording is decoded; names and meaning are Whisper's.

    Attributes:
        task: transcribe or translate.
        language: Whisper's code; empty: detected.
        temperature: tried in turn while a window decodes badly.
        compression_ratio_threshold: above it a window counts as a loop; None: never.
        log_prob_threshold: below it a window counts as badly decoded; None: never.
        no_speech_threshold: above it a badly decoded window is silence; None: never.
        clip_timestamps: start, end, start, … in seconds; empty: the whole recording.
        hallucination_silence_threshold: silence around doubtful text, in seconds,
            above which the text is dropped; None: never.
        vad_filter: whether stretches without speech are cut out first.
        audio_track: which track of the media: its index, from 0, or Whisper's code of
            its language; empty: the default one, or the first with sound. It is
            chosen when the media is prepared; engines get samples.
        multilingual: the language is detected for each chunk.
        batching: `off` gives what the engine's own library gives, at its speed.
    """

    task: str = "transcribe"
    language: str = ""
    temperature: tuple[float, ...] = TEMPERATURE_LADDER
    beam_size: int = 5
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    compression_ratio_threshold: float | None = 2.4
    log_prob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = False
    initial_prompt: str = ""
    hotwords: str = ""
    word_timestamps: bool = False
    prepend_punctuations: str = PREPEND_PUNCTUATIONS
    append_punctuations: str = APPEND_PUNCTUATIONS
    clip_timestamps: tuple[float, ...] = ()
    hallucination_silence_threshold: float | None = None
    vad_filter: bool = True
    vad_parameters: VadParameters = field(default_factory=VadParameters)
    multilingual: bool = False
    batching: str = "auto"
    audio_track: str = ""

    @property
    def beam_patience(self) -> float:
        """`patience`, but never so little that no hypothesis may be finished.

        The libraries raise an error then.
        """
        return max(self.patience, 1 / self.beam_size)

    @property
    def needs_order(self) -> bool:
        """Whether a window's decoding depends on the one before it, or on its place."""
        return bool(
            self.batching == "off"
            or self.condition_on_previous_text
            or self.clip_timestamps
            or self.hallucination_silence_threshold
        )

    @property
    def hypotheses(self) -> int:
        """How many ways to go on a badly decoded window is followed in, all in all.

        A window costs in proportion to it. Whisper's own ladder comes to 30.
        """
        drawn = sum(1 for temperature in self.temperature if temperature > 0)
        searched = len(self.temperature) - drawn
        return searched * self.beam_size + drawn * self.best_of

    def counted_seconds(self, duration_seconds: float) -> float:
        """The audio that a recording counts as, by the windows that it is decoded in.

        A window costs the same however little is in it. Clips, and speech that is cut
        short, may make more windows of a recording than its length does.
        """
        clips = sum(
            1 for start in self.clip_timestamps[::2] if start < duration_seconds
        )
        longest = self.vad_parameters.max_speech_duration_s
        cut = 0
        if longest is not None and not self.needs_order:
            cut = math.ceil(duration_seconds / min(longest, WINDOW_SECONDS))
        usual = math.ceil(duration_seconds / WINDOW_SECONDS)
        return duration_seconds + WINDOW_SECONDS * max(0, clips - usual, cut - usual)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecodeOptions:
        """Build from what a row holds: any of our fields, as JSON has them.

        Raises:
            TypeError: a name is not ours.
        """
        given = dict(values)
        for name in ("temperature", "clip_timestamps"):
            if name in given:
                given[name] = tuple(given[name])
        if "vad_parameters" in given:
            given["vad_parameters"] = VadParameters(**given["vad_parameters"])
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has them."""
        return asdict(self)


OPTION_NAMES: Final = frozenset(item.name for item in fields(DecodeOptions)) - {
    "task",
    "language",
}

# Options that an engine without them obeys when they are off.
SWITCHES: Final = frozenset({"multilingual", "vad_filter"})


def unsupported_options(engine: str, given: dict[str, Any]) -> list[str]:
    """Names in a request that its engine cannot honour, sorted.

    Asking for what the engine does anyway (no voice activity filter) is no error.
    """
    refused = ENGINES[engine].unsupported_options & set(given)
    off = {name for name in SWITCHES if given.get(name) is False}
    return sorted(refused - off)
