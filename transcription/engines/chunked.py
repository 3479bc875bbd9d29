"""The chunked path of faster-whisper: chunks of many jobs decode side by side.

Each chunk goes through the library's own `generate_segments`: its seek loop,
temperature fallback, rules on silence and repetition, word alignment. What comes back
is moved to the chunk's place in the media.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import TranscriptionOptions, get_suppressed_tokens

from transcription.audio import SAMPLE_RATE, Samples, release_pages, to_float
from transcription.engines.base import (
    JobListener,
    Segment,
    Transcription,
    Word,
    join_text,
)
from transcription.engines.coalescing import Caller, CoalescingWhisper
from transcription.engines.lanes import ChunkLanes
from transcription.engines.options import DecodeOptions
from transcription.engines.speech import Span, plan_chunks, speech_probabilities
from transcription.engines.timeline import Timeline

# Whisper's `seek` counts frames of 10 ms.
FRAMES_PER_SECOND: Final = 100
# The library's own defaults for what we do not offer.
LIBRARY_DEFAULTS: Final[dict[str, Any]] = {
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "prompt_reset_on_temperature": 0.5,
    "prefix": None,
    "suppress_blank": True,
    "without_timestamps": False,
    "max_initial_timestamp": 1.0,
    "multilingual": False,
    "max_new_tokens": None,
    "hallucination_silence_threshold": None,
    "condition_on_previous_text": False,
}


@dataclass(frozen=True)
class DetectedLanguage:
    """The language a job is decoded in, and how it was found.

    Attributes:
        first_window: encoder output of the first chunk, if it was made for this.
    """

    code: str
    probability: float
    probabilities: dict[str, float]
    first_window: Any = None


class ChunkedDecoder:
    """Decodes jobs chunk by chunk; any number of threads may call it.

    Args:
        model: the library's model, whose calls go through `whisper`.
        whisper: the coalescing stand-in.
        lanes: the threads that work on chunks.
    """

    def __init__(
        self, model: WhisperModel, whisper: CoalescingWhisper, lanes: ChunkLanes
    ) -> None:
        """Decode with a model."""
        self._model = model
        self._whisper = whisper
        self._lanes = lanes
        # Features take a core, and some 25 MB while they are made. Half of the cores
        # keep a GPU busy; on a CPU the model wants them all.
        at_once = max(1, (os.cpu_count() or 1) // 2)
        self._extracting = threading.BoundedSemaphore(at_once)

    def transcribe(
        self,
        samples: Samples,
        options: DecodeOptions,
        listener: JobListener,
        caller: Caller,
    ) -> Transcription:
        """Turn samples into text.

        Raises:
            Whatever the listener raises, or the model.
        """
        duration_seconds = len(samples) / SAMPLE_RATE
        chunks, speech_seconds = plan_chunks(
            speech_probabilities(samples, check=listener.check),
            options.vad_parameters,
            len(samples),
            keep_silence=not options.vad_filter,
        )
        first = chunks[0] if chunks else Span(0, 0)
        with self._whisper.calls_of(caller):
            language = self._settle_language(samples, first, options)
        works = self._works(samples, chunks, options, language)
        timeline = Timeline(duration_seconds, listener.segments)
        done_seconds = 0.0
        planned_seconds = sum(chunk.seconds for chunk in chunks)
        for number, heard in self._in_order(caller, works):
            begin, end = _bounds(chunks[number])
            timeline.add(_placed(heard, chunks[number]), begin=begin, end=end)
            done_seconds += chunks[number].seconds
            listener(duration_seconds * done_seconds / planned_seconds)
        return Transcription(
            text=join_text(timeline.segments),
            language=language.code,
            language_probability=language.probability,
            language_probabilities=language.probabilities,
            duration_seconds=duration_seconds,
            duration_after_vad_seconds=speech_seconds,
            segments=timeline.segments,
            options=options.as_dict(),
        )

    def _settle_language(
        self, samples: Samples, first: Span, options: DecodeOptions
    ) -> DetectedLanguage:
        """The language asked for, or the one heard in the first chunk."""
        if not self._whisper.is_multilingual:
            return DetectedLanguage("en", 1.0, {})
        if options.language:
            return DetectedLanguage(options.language, 1.0, {})
        encoded = self._model.encode(pad_or_trim(self._features(samples, first)))
        (found,) = self._whisper.detect_language(encoded)
        # Tokens such as <|en|>.
        probabilities = {token[2:-2]: probability for token, probability in found}
        code, probability = next(iter(probabilities.items()))
        return DetectedLanguage(code, probability, probabilities, encoded)

    def _features(self, samples: Samples, chunk: Span) -> Any:
        with self._extracting:
            heard = to_float(samples[chunk.start : chunk.end])
            release_pages(samples)
            return self._model.feature_extractor(heard)

    def _works(
        self,
        samples: Samples,
        chunks: list[Span],
        options: DecodeOptions,
        language: DetectedLanguage,
    ) -> list[Callable[[], list[Any]]]:
        """One function a chunk, which decodes it in a lane."""
        tokenizer = Tokenizer(
            self._model.hf_tokenizer,
            self._whisper.is_multilingual,
            task=options.task,
            language=language.code,
        )
        library_options = _library_options(options, tokenizer)

        def work(chunk: Span, encoded: Any) -> list[Any]:
            return list(
                self._model.generate_segments(
                    self._features(samples, chunk),
                    tokenizer,
                    # The library writes into them.
                    dataclasses.replace(library_options, clip_timestamps=[]),
                    False,
                    encoded,
                )
            )

        return [
            _bind(work, chunk, None if number else language.first_window)
            for number, chunk in enumerate(chunks)
        ]

    def _in_order(
        self, caller: Caller, works: list[Callable[[], list[Any]]]
    ) -> Iterator[tuple[int, list[Any]]]:
        """Results in the order of the media, each as soon as those before it are."""
        early: dict[int, list[Any]] = {}
        expected = 0
        for position, heard in self._lanes.run(caller, works):
            early[position] = heard
            while expected in early:
                yield expected, early.pop(expected)
                expected += 1


def _bind(
    work: Callable[[Span, Any], list[Any]], chunk: Span, encoded: Any
) -> Callable[[], list[Any]]:
    """A chunk's work without arguments (a lambda in a loop would bind the last)."""
    return lambda: work(chunk, encoded)


def _library_options(
    options: DecodeOptions, tokenizer: Tokenizer
) -> TranscriptionOptions:
    return TranscriptionOptions(
        **LIBRARY_DEFAULTS,
        beam_size=options.beam_size,
        best_of=options.best_of,
        patience=options.beam_patience,
        length_penalty=options.length_penalty,
        log_prob_threshold=options.log_prob_threshold,
        no_speech_threshold=options.no_speech_threshold,
        compression_ratio_threshold=options.compression_ratio_threshold,
        temperatures=list(options.temperature),
        initial_prompt=options.initial_prompt or None,
        suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
        word_timestamps=options.word_timestamps,
        prepend_punctuations=options.prepend_punctuations,
        append_punctuations=options.append_punctuations,
        clip_timestamps=[],
        hotwords=options.hotwords or None,
    )


def _bounds(chunk: Span) -> tuple[float, float]:
    """Where a chunk begins and ends, in seconds of the media, in whole milliseconds."""
    return (
        math.floor(chunk.start * 1000 / SAMPLE_RATE) / 1000,
        math.floor(chunk.end * 1000 / SAMPLE_RATE) / 1000,
    )


def _placed(heard: list[Any], chunk: Span) -> Iterator[Segment]:
    """Segments of a chunk with times of the whole recording."""
    offset = chunk.start / SAMPLE_RATE
    return (convert_segment(segment, offset=offset) for segment in heard)


def convert_segment(heard: Any, *, offset: float = 0.0) -> Segment:
    """A segment of the library as one of ours.

    Args:
        heard: the library's.
        offset: seconds of the media before the stretch it was heard in.
    """

    def moved(seconds: float) -> float:
        return round(float(seconds) + offset, 3) if offset else float(seconds)

    return Segment(
        id=heard.id,
        seek=heard.seek + round(offset * FRAMES_PER_SECOND),
        start=moved(heard.start),
        end=moved(heard.end),
        text=heard.text,
        tokens=list(heard.tokens),
        temperature=heard.temperature,
        avg_logprob=heard.avg_logprob,
        compression_ratio=heard.compression_ratio,
        no_speech_prob=heard.no_speech_prob,
        words=None
        if heard.words is None
        else [
            Word(
                word=word.word,
                start=moved(word.start),
                end=moved(word.end),
                probability=float(word.probability),
            )
            for word in heard.words
        ],
    )
