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

from transcription.audio import SAMPLE_RATE
from transcription.engines.base import (
    DETECTION_WINDOWS,
    JobListener,
    LanguageDetection,
    Segment,
    Transcription,
    Word,
    join_text,
)
from transcription.engines.chunk_languages import (
    ChunkLanguages,
    HeardLanguage,
    is_mixed,
    parts_of,
)
from transcription.engines.coalescing import Caller, CoalescingWhisper
from transcription.engines.detection import SURE_OF_LANGUAGE, detect
from transcription.engines.lanes import ChunkLanes
from transcription.engines.options import DecodeOptions, VadParameters
from transcription.engines.speech import Span, plan_chunks, speech_probabilities
from transcription.engines.timeline import Timeline
from transcription.samples import Samples, release_pages, to_float

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


# Where languages change, neighbouring speech is not packed into one chunk of 30 s.
MULTILINGUAL_CHUNK_SECONDS: Final = 10.0


@dataclass(frozen=True)
class DetectedLanguage:
    """The language a job is decoded in, and how it was found.

    Attributes:
        asked: the client named it.
        first_window: encoder output of the first chunk, if it was made for this.
    """

    code: str
    probability: float | None
    probabilities: dict[str, float]
    asked: bool = False
    first_window: Any = None


@dataclass(frozen=True)
class HeardChunk:
    """What was heard in one chunk.

    Attributes:
        segments: the library's.
        language: that they were decoded in.
        languages: what was spoken where, as far as somebody looked.
    """

    segments: list[Any]
    language: str
    languages: list[HeardLanguage]


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
            _vad_parameters(options),
            len(samples),
            keep_silence=not options.vad_filter,
        )
        with self._whisper.calls_of(caller):
            language = self._settle_language(samples, chunks, options, listener)
        works = self._works(samples, chunks, options, language)
        timeline = Timeline(duration_seconds, listener.segments)
        languages = ChunkLanguages(language.code)
        done_seconds = 0.0
        planned_seconds = sum(chunk.seconds for chunk in chunks)
        for number, heard in self._in_order(caller, works):
            begin, end = _bounds(chunks[number])
            placed = _placed(heard, chunks[number], multilingual=options.multilingual)
            timeline.add(placed, begin=begin, end=end)
            if heard.segments:
                languages.add(heard.languages)
            done_seconds += chunks[number].seconds
            listener(duration_seconds * done_seconds / planned_seconds)
        detected = LanguageDetection(
            language.code or None, language.probability, language.probabilities
        )
        return Transcription(
            **languages.summary(detected, multilingual=options.multilingual),
            text=join_text(timeline.segments),
            duration_seconds=duration_seconds,
            duration_after_vad_seconds=speech_seconds,
            segments=timeline.segments,
            options=options.as_dict(),
        )

    def _settle_language(
        self,
        samples: Samples,
        chunks: list[Span],
        options: DecodeOptions,
        listener: JobListener,
    ) -> DetectedLanguage:
        """The language asked for, or the one heard in the first chunk.

        If that is not sure, or has silence and noise as well, then in windows with
        speech.
        """
        if not self._whisper.is_multilingual:
            return DetectedLanguage("en", 1.0, {})
        if options.language:
            return DetectedLanguage(options.language, 1.0, {}, asked=True)
        if not chunks:
            # Nobody speaks, and nothing will be decoded.
            return DetectedLanguage("", None, {})
        encoded = self._model.encode(pad_or_trim(self._features(samples, chunks[0])))
        probabilities = self._language_probabilities(encoded)
        code, probability = most_probable(probabilities)
        if probability < SURE_OF_LANGUAGE or not options.vad_filter:
            wider = self.detect_language(samples, DETECTION_WINDOWS, listener)
            if wider.language is not None:
                return DetectedLanguage(
                    wider.language,
                    wider.probability,
                    wider.probabilities,
                    first_window=encoded,
                )
        return DetectedLanguage(code, probability, probabilities, first_window=encoded)

    def detect_language(
        self, samples: Samples, windows: int, listener: JobListener
    ) -> LanguageDetection:
        """Tell the language from several windows with speech."""

        def hear(window: Samples) -> dict[str, float]:
            features = self._features(window, Span(0, len(window)))
            return self._language_probabilities(
                self._model.encode(pad_or_trim(features))
            )

        return detect(samples, windows, hear, check=listener.check)

    def _language_probabilities(self, encoded: Any) -> dict[str, float]:
        """Of each language in one window, most probable first."""
        (found,) = self._whisper.detect_language(encoded)
        # Tokens such as <|en|>.
        return {token[2:-2]: probability for token, probability in found}

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
    ) -> list[Callable[[], HeardChunk]]:
        """One function a chunk, which decodes it in a lane."""
        multilingual = options.multilingual and self._whisper.is_multilingual
        looks_at_language = self._whisper.is_multilingual and not language.asked

        def work(chunk: Span, encoded: Any) -> HeardChunk:
            features = self._features(samples, chunk)
            if encoded is None and looks_at_language:
                # As the library would, which leaves out the last frame.
                encoded = self._model.encode(pad_or_trim(features[..., :-1]))
            code, heard = language.code, []
            if multilingual or looks_at_language:
                # One step of the decoder, among some hundred.
                probabilities = self._language_probabilities(encoded)
                heard = [HeardLanguage(*_bounds(chunk), probabilities)]
            if multilingual:
                found, probability = most_probable(probabilities)
                code = found if probability >= SURE_OF_LANGUAGE else code
            elif heard and is_mixed(heard[0], code):
                heard = self._look_closely(samples, chunk)
            segments = self._decode(features, encoded, options, code)
            return HeardChunk(segments, code, heard)

        return [
            _bind(work, chunk, None if number else language.first_window)
            for number, chunk in enumerate(chunks)
        ]

    def _look_closely(self, samples: Samples, chunk: Span) -> list[HeardLanguage]:
        """The language of each part of a chunk, at an encoder call for each."""
        heard = []
        for part in parts_of(chunk):
            encoded = self._model.encode(pad_or_trim(self._features(samples, part)))
            probabilities = self._language_probabilities(encoded)
            heard.append(HeardLanguage(*_bounds(part), probabilities))
        return heard

    def _decode(
        self, features: Any, encoded: Any, options: DecodeOptions, language: str
    ) -> list[Any]:
        """A chunk by the library's own loop."""
        tokenizer = Tokenizer(
            self._model.hf_tokenizer,
            self._whisper.is_multilingual,
            task=options.task,
            language=language,
        )
        return list(
            self._model.generate_segments(
                features,
                tokenizer,
                _library_options(options, tokenizer),
                False,
                encoded,
            )
        )

    def _in_order(
        self, caller: Caller, works: list[Callable[[], HeardChunk]]
    ) -> Iterator[tuple[int, HeardChunk]]:
        """Results in the order of the media, each as soon as those before it are."""
        early: dict[int, HeardChunk] = {}
        expected = 0
        for position, heard in self._lanes.run(caller, works):
            early[position] = heard
            while expected in early:
                yield expected, early.pop(expected)
                expected += 1


def _bind(
    work: Callable[[Span, Any], HeardChunk], chunk: Span, encoded: Any
) -> Callable[[], HeardChunk]:
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


def _vad_parameters(options: DecodeOptions) -> VadParameters:
    """Those of the options, with shorter chunks if each may have its own language."""
    given = options.vad_parameters
    if not options.multilingual:
        return given
    longest = min(given.max_speech_duration_s or math.inf, MULTILINGUAL_CHUNK_SECONDS)
    return dataclasses.replace(given, max_speech_duration_s=longest)


def most_probable(probabilities: dict[str, float]) -> tuple[str, float]:
    """The first language and its probability."""
    return next(iter(probabilities.items()))


def _placed(heard: HeardChunk, chunk: Span, *, multilingual: bool) -> Iterator[Segment]:
    """Segments of a chunk with times of the whole recording."""
    offset = chunk.start / SAMPLE_RATE
    language = heard.language if multilingual else None
    return (
        convert_segment(segment, offset=offset, language=language)
        for segment in heard.segments
    )


def convert_segment(
    heard: Any, *, offset: float = 0.0, language: str | None = None
) -> Segment:
    """A segment of the library as one of ours.

    Args:
        heard: the library's.
        language: that it was decoded in, if that may differ between segments.
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
        language=language,
    )
