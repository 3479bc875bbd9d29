"""Where speech is in a recording, and which chunks of it the model is given.

Reads the samples block by block, so that the length of a recording costs no memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from faster_whisper.vad import get_vad_model
from numpy.typing import NDArray

from transcription.audio import SAMPLE_RATE, WINDOW_SAMPLES
from transcription.engines.options import VadParameters
from transcription.samples import Samples, release_pages, to_float

# Silero's step and how much of the step before it sees, in samples at 16 kHz.
FRAME_SAMPLES: Final = 512
CONTEXT_SAMPLES: Final = 64
STATE_SHAPE: Final = (1, 1, 128)
# 8 s at a time: longer blocks are no faster, and take memory in every job at once.
BLOCK_FRAMES: Final = 250
# Speech ends where the probability falls so far below the threshold.
HYSTERESIS: Final = 0.15
LEAST_PROBABILITY: Final = 0.01
# Pauses within a chunk cost nothing, but a model asked to be silent for long invents.
LONGEST_PAUSE_SAMPLES: Final = 5 * SAMPLE_RATE
# An endless stretch of speech is cut where it is least like speech, within so much.
CUT_SEARCH_SECONDS: Final = 8.0
LEAST_PIECE_SAMPLES: Final = 2 * FRAME_SAMPLES  # so that a cut lies inside


@dataclass(frozen=True)
class Span:
    """A contiguous stretch of samples: first, and first after."""

    start: int
    end: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start) / SAMPLE_RATE


def speech_probabilities(
    samples: Samples, *, check: Callable[[], None] = lambda: None
) -> NDArray[np.float32]:
    """The probability of speech in each step of 32 ms (Silero).

    The same values as `faster_whisper.vad` gives for the whole recording at once.

    Args:
        samples: 16 kHz mono int16.
        check: called between blocks; raises to stop.
    """
    session = get_vad_model().session
    hidden, cell = (np.zeros(STATE_SHAPE, dtype=np.float32) for _ in range(2))
    context = np.zeros(CONTEXT_SAMPLES, dtype=np.float32)
    found: list[NDArray[np.float32]] = []
    block_samples = BLOCK_FRAMES * FRAME_SAMPLES
    for start in range(0, len(samples), block_samples):
        check()
        block = to_float(samples[start : start + block_samples])
        block = np.pad(block, (0, -len(block) % FRAME_SAMPLES))
        frames = block.reshape(-1, FRAME_SAMPLES)
        before = np.vstack([context, frames[:-1, -CONTEXT_SAMPLES:]])
        output, hidden, cell = session.run(
            None, {"input": np.hstack([before, frames]), "h": hidden, "c": cell}
        )
        context = frames[-1, -CONTEXT_SAMPLES:].copy()
        found.append(np.asarray(output, dtype=np.float32).reshape(-1))
        release_pages(samples)
    return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)


def find_runs(
    probabilities: NDArray[np.float32], parameters: VadParameters
) -> list[Span]:
    """Uninterrupted speech, in steps: between any two runs lies a pause."""
    high = parameters.threshold
    low = parameters.neg_threshold
    if low is None:
        low = max(high - HYSTERESIS, LEAST_PROBABILITY)
    runs: list[Span] = []
    start: int | None = None
    for step, probability in enumerate(probabilities.tolist()):
        if start is None and probability >= high:
            start = step
        elif start is not None and probability < low:
            runs.append(Span(start, step))
            start = None
    if start is not None:
        runs.append(Span(start, len(probabilities)))
    return runs


def speech_spans(
    runs: list[Span], parameters: VadParameters, n_samples: int
) -> list[Span]:
    """Speech with short pauses filled and padding around it, in samples."""
    shortest_pause = parameters.min_silence_duration_ms * SAMPLE_RATE / 1000
    shortest_speech = parameters.min_speech_duration_ms * SAMPLE_RATE / 1000
    joined: list[Span] = []
    for run in runs:
        start, end = run.start * FRAME_SAMPLES, run.end * FRAME_SAMPLES
        if joined and start - joined[-1].end < shortest_pause:
            joined[-1] = Span(joined[-1].start, end)
        else:
            joined.append(Span(start, end))
    kept = [span for span in joined if span.end - span.start > shortest_speech]
    return _padded(kept, parameters.speech_pad_ms * SAMPLE_RATE // 1000, n_samples)


def _padded(spans: list[Span], padding: int, n_samples: int) -> list[Span]:
    """Spans with padding on both sides; neighbours share what is between them."""
    padded: list[Span] = []
    for number, span in enumerate(spans):
        before = spans[number - 1].end if number else -math.inf
        after = spans[number + 1].start if number + 1 < len(spans) else math.inf
        start = max(span.start - padding, (before + span.start) / 2, 0)
        end = min(span.end + padding, (span.end + after) / 2, n_samples)
        padded.append(Span(int(start), int(end)))
    return padded


def joined_spans(spans: list[Span]) -> list[Span]:
    """Speech with what lies between, as long as no pause in it is too long."""
    joined: list[Span] = []
    for span in spans:
        if joined and span.start - joined[-1].end <= LONGEST_PAUSE_SAMPLES:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def plan_chunks(
    probabilities: NDArray[np.float32],
    parameters: VadParameters,
    n_samples: int,
    *,
    keep_silence: bool = False,
) -> tuple[list[Span], float]:
    """The stretches to decode: contiguous, at most 30 s or the speech allowed, packed.

    Neighbouring speech goes into one chunk as long as it fits; a chunk ends at the last
    pause before it is full. Nothing inside a chunk is removed, so that times in it need
    only an offset.

    Args:
        probabilities: of speech, one for each step.
        parameters: what counts as speech and as a pause.
        n_samples: length of the recording.
        keep_silence: decode everything; speech then only tells where to cut.

    Returns:
        The chunks in samples, in order, and the seconds of speech.
    """
    runs = find_runs(probabilities, parameters)
    spans = speech_spans(runs, parameters, n_samples)
    if keep_silence:
        spans = [Span(0, n_samples)] if n_samples else []
    pauses = _pauses(runs)
    limit = _longest_chunk(parameters)
    pieces: list[Span] = []
    for span in spans:
        pieces.extend(_cut(span, pauses, probabilities, parameters))
    chunks: list[Span] = []
    for piece in pieces:
        if (
            chunks
            and piece.end - chunks[-1].start <= limit
            and piece.start - chunks[-1].end <= LONGEST_PAUSE_SAMPLES
        ):
            chunks[-1] = Span(chunks[-1].start, piece.end)
        else:
            chunks.append(piece)
    return chunks, sum(span.seconds for span in spans)


def _longest_chunk(parameters: VadParameters) -> int:
    """Samples that a chunk may have: a window, or less if speech may not be longer."""
    if parameters.max_speech_duration_s is None:
        return WINDOW_SAMPLES
    longest = int(parameters.max_speech_duration_s * SAMPLE_RATE)
    return min(WINDOW_SAMPLES, max(longest, LEAST_PIECE_SAMPLES))


def _pauses(runs: list[Span]) -> list[int]:
    """The middle of each pause between runs, in samples, rising."""
    return [
        (left.end + right.start) * FRAME_SAMPLES // 2 for left, right in pairwise(runs)
    ]


def _cut(
    span: Span,
    pauses: list[int],
    probabilities: NDArray[np.float32],
    parameters: VadParameters,
) -> list[Span]:
    """A span in pieces that fit into a chunk, cut at the last pause that fits."""
    limit = _longest_chunk(parameters)
    pieces: list[Span] = []
    start = span.start
    inside = [pause for pause in pauses if span.start < pause < span.end]
    while span.end - start > limit:
        fitting = [pause for pause in inside if start < pause <= start + limit]
        cut = fitting[-1] if fitting else _least_speech(probabilities, start, limit)
        pieces.append(Span(start, cut))
        start = cut
    pieces.append(Span(start, span.end))
    return pieces


def _least_speech(probabilities: NDArray[np.float32], start: int, limit: int) -> int:
    """Where to cut speech without a pause: its least probable moment, late in a piece.

    Args:
        probabilities: of speech, one for each step.
        start: first sample of the piece.
        limit: samples that it may have.
    """
    search = min(int(CUT_SEARCH_SECONDS * SAMPLE_RATE), limit // 2)
    first = (start + limit - search) // FRAME_SAMPLES + 1
    last = max(first + 1, (start + limit) // FRAME_SAMPLES)
    return (first + int(np.argmin(probabilities[first:last]))) * FRAME_SAMPLES
