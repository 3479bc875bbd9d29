"""openai-whisper: OpenAI's own Whisper on PyTorch, the second engine.

PyTorch and openai-whisper are imported when the model is loaded, not before.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import logging
import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from transcription.audio import SAMPLE_RATE
from transcription.engines import demo_model
from transcription.engines.base import (
    DETECTION_WINDOWS,
    JobListener,
    LanguageDetection,
    ModelCall,
    ModelInfo,
    Segment,
    SilentListener,
    Transcription,
    Word,
    average_probabilities,
    join_text,
)
from transcription.engines.detection import SURE_OF_LANGUAGE, detect
from transcription.engines.devices import resolve_device
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import DEMO, SlotPlan
from transcription.engines.timeline import Timeline, clip_around
from transcription.errors import ModelUnavailableError
from transcription.samples import Samples
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)

NOT_INSTALLED: Final = Sentence(
    "The engine openai-whisper is not installed here. Install it with `pip install -r "
    "requirements/openai-whisper.txt`, or start with `make run ENGINE=openai-whisper`."
)


def create(
    slot: SlotPlan, *, model_dir: Path, cpu_threads: int, batch_size: int = 0
) -> OpenAIWhisperEngine:
    """The engine of a slot; it has no batches."""
    return OpenAIWhisperEngine(slot, model_dir=model_dir, cpu_threads=cpu_threads)


class OpenAIWhisperEngine:
    """One PyTorch model; the library keeps state in it, so jobs run one at a time."""

    concurrent_jobs = 1

    def __init__(self, slot: SlotPlan, *, model_dir: Path, cpu_threads: int) -> None:
        """Remember what to load."""
        self._slot = slot
        self._model_dir = model_dir
        self._cpu_threads = cpu_threads
        self._model: Any = None
        self._info: ModelInfo | None = None
        self._half = False
        self._working: tuple[Any, JobListener] | None = None

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        if self._info is None:
            raise RuntimeError("The model is not loaded.")
        return self._info

    @property
    def model(self) -> Any:
        """openai-whisper's model object."""
        if self._model is None:
            raise RuntimeError("The model is not loaded.")
        return self._model

    def load(self) -> None:
        """Load the model, decode a moment of silence and time a word.

        Raises:
            ModelUnavailableError: see the message.
        """
        library = _import_library()
        torch = library.torch
        device = self._resolve_device(torch)
        self._half = resolve_compute_type(self._slot, device) == "float16"
        threads = self._cpu_threads or torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            model, revision = self._load_checkpoint(library)
            self._model = library.prepare(model, device=device, half=self._half)
            self._warm_up()
        except ModelUnavailableError:
            raise
        except Exception as error:
            # Network, file, pickle and CUDA errors of many libraries end here.
            self._model = None
            logger.info("Loading %s failed", self._slot.model, exc_info=True)
            raise ModelUnavailableError(
                explain_load_failure(self._slot, error)
            ) from error
        # Numba, which times words, has set the threads of OpenMP to all cores.
        torch.set_num_threads(threads)
        self._info = ModelInfo(
            name=self._slot.model,
            revision=revision,
            engine=self._slot.engine,
            device=self._slot.device,
            compute_type="float16" if self._half else "float32",
            notice=demo_model.NOTICE if self._slot.model_size_or_path == DEMO else "",
            languages=library.known_languages(self._model),
        )

    def transcribe(
        self, samples: Samples, options: DecodeOptions, listener: JobListener
    ) -> Transcription:
        """Turn samples into text; see `base.Engine`."""
        from transcription.engines import openai_library as library

        model = self.model
        duration_seconds = len(samples) / SAMPLE_RATE
        arguments = _arguments(options, duration_seconds)
        watch = library.Watch(listener)
        watch.check()
        with library.watched(model, watch), self._at_work(watch, listener):
            spectrogram = library.Spectrogram(model, samples, watch)
            detected = self._settle_language(samples, options, spectrogram, watch)
            heard = library.transcribe(
                model,
                spectrogram,
                language=detected.language,
                fp16=self._half,
                **arguments,
            )
        timeline = Timeline(duration_seconds)
        for segment in _segments(heard["segments"], with_words=options.word_timestamps):
            begin, end = clip_around(
                segment.seek / library.FRAMES_PER_SECOND, options.clip_timestamps
            )
            timeline.add([segment], begin=begin, end=end)
        listener(duration_seconds)
        return Transcription(
            text=join_text(timeline.segments),
            language=detected.language,
            language_probability=detected.probability,
            language_probabilities=detected.probabilities,
            duration_seconds=duration_seconds,
            # Nothing was cut out.
            duration_after_vad_seconds=duration_seconds,
            segments=timeline.segments,
            options=dataclasses.replace(options, vad_filter=False).as_dict(),
        )

    def detect_language(
        self,
        samples: Samples,
        listener: JobListener,
        *,
        windows: int = DETECTION_WINDOWS,
    ) -> LanguageDetection:
        """Tell the language from several windows; see `base.Engine`."""
        from transcription.engines import openai_library as library

        if not self.model.is_multilingual:
            return LanguageDetection("en", 1.0, {"en": 1.0})
        watch = library.Watch(listener)
        watch.check()
        with library.watched(self.model, watch), self._at_work(watch, listener):
            return self._hear_language(samples, watch, windows)

    def _hear_language(
        self, samples: Samples, watch: Any, windows: int
    ) -> LanguageDetection:
        """The language of a job whose model is watched already."""
        from transcription.engines import openai_library as library

        model = self.model

        def hear(window: Samples) -> dict[str, float]:
            mel = library.Spectrogram(model, window, watch).window_with_sound(0)
            return library.language_probabilities(model, mel, half=self._half)

        return detect(samples, windows, hear, check=watch.check)

    @property
    def model_call(self) -> ModelCall | None:
        """What the library does between two layers, for the one job there is."""
        if self._working is None:
            return None
        watch, job = self._working
        return ModelCall(watch.checked_at, frozenset({job}))

    @contextmanager
    def _at_work(self, watch: Any, job: JobListener) -> Iterator[None]:
        self._working = (watch, job)
        try:
            yield
        finally:
            self._working = None

    def unload(self) -> None:
        """Free the model."""
        self._model = None

    def _resolve_device(self, torch: Any) -> str:
        kind, index = resolve_device(self._slot.device, torch.cuda.device_count)
        if kind == "cpu":
            return kind
        if index >= torch.cuda.device_count():
            raise ModelUnavailableError(
                Sentence(
                    "PyTorch finds no device {device} on this machine: the GPU is "
                    "missing, its driver is too old, or this PyTorch is a build for "
                    "the CPU.",
                    device=self._slot.device,
                )
            )
        return f"{kind}:{index}"

    def _load_checkpoint(self, library: ModuleType) -> tuple[Any, str]:
        """The model on the CPU, and its revision."""
        whisper = library.whisper
        wanted = self._slot.model_size_or_path
        if wanted == DEMO:
            file = demo_model.openai_checkpoint(self._model_dir)
            model = whisper.load_model(str(file), device="cpu")
            model.set_alignment_heads(demo_model.dump_alignment_heads())
            return model, demo_model.revision()
        if found := self._find_file(whisper.available_models()):
            model = whisper.load_model(str(found), device="cpu")
            library.align_as_official(model, found.stem)
            return model, _checksum(found)
        with _one_at_a_time(self._model_dir):
            model = whisper.load_model(
                wanted, device="cpu", download_root=str(self._model_dir)
            )
        return model, library.official_revision(wanted)

    def _find_file(self, official_names: list[str]) -> Path | None:
        """The user's own checkpoint; None: one of OpenAI's models is meant."""
        wanted, name = self._slot.model_size_or_path, self._slot.model
        path = Path(wanted).expanduser()
        if path.is_file():
            return path
        if path.is_dir():
            files = sorted(path.glob("*.pt"))
            if len(files) != 1:
                raise ModelUnavailableError(
                    Sentence(
                        "The folder of the model {name!r} must hold one checkpoint of "
                        "openai-whisper (.pt); it holds {count}.",
                        name=name,
                        count=len(files),
                    )
                )
            return files[0]
        if path.is_absolute() or wanted.startswith((".", "~")):
            raise ModelUnavailableError(
                Sentence(
                    "The file or folder of the model {name!r} does not exist.",
                    name=name,
                )
            )
        if wanted not in official_names:
            raise ModelUnavailableError(
                Sentence(
                    "{name!r} is no Whisper model that openai-whisper knows. Name one "
                    "(tiny, base, small, medium, large-v3, turbo …) or a local file "
                    "(.pt).",
                    name=name,
                )
            )
        return None

    def _warm_up(self) -> None:
        """Run every part once: the first job should not pay for lazy set-up."""
        from transcription.engines import openai_library as library

        second = np.zeros(SAMPLE_RATE, dtype=np.int16)
        options = DecodeOptions(temperature=(0.0,), no_speech_threshold=None)
        with warnings.catch_warnings():
            # The tokenizer's file is left open, and numba finds nothing to do in
            # parallel: both are the library's, and neither is news to an operator.
            warnings.simplefilter("ignore")
            self.transcribe(second, options, SilentListener())
            library.time_a_word(self.model, half=self._half)

    def _settle_language(
        self, samples: Samples, options: DecodeOptions, spectrogram: Any, watch: Any
    ) -> LanguageDetection:
        """The language of a job: as asked for, or heard where decoding begins."""
        from transcription.engines import openai_library as library

        model = self.model
        if not model.is_multilingual:
            return LanguageDetection("en", 1.0, {})
        if options.language:
            return LanguageDetection(options.language, 1.0, {})
        begin = next(iter(options.clip_timestamps), 0.0)
        # Nothing cuts silence out for this engine, and silence has no language.
        mel = spectrogram.window_with_sound(int(begin * library.FRAMES_PER_SECOND))
        detected = average_probabilities(
            [library.language_probabilities(model, mel, half=self._half)]
        )
        if detected.probability is None or detected.probability >= SURE_OF_LANGUAGE:
            return detected
        # There may be no speech in that window.
        wider = self._hear_language(samples, watch, DETECTION_WINDOWS)
        return detected if wider.language is None else wider


def resolve_compute_type(slot: SlotPlan, device: str) -> str:
    """The precision to compute in.

    Raises:
        ModelUnavailableError: the library cannot compute in what the plan names.
    """
    possible = ("float32",) if device == "cpu" else ("float16", "float32")
    if slot.compute_type in {"default", "auto"}:
        return possible[0]
    if slot.compute_type not in possible:
        raise ModelUnavailableError(
            Sentence(
                "openai-whisper computes in {possible} on {device}, not in "
                "{compute_type}.",
                possible=", ".join(possible),
                device=slot.device,
                compute_type=slot.compute_type,
            )
        )
    return slot.compute_type


def explain_load_failure(slot: SlotPlan, error: Exception) -> Sentence:
    """One sentence for the operator on why a model did not load."""
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
    if slot.model_size_or_path == DEMO or "CUDA" in reason.upper():
        return Sentence(
            "The model {name!r} could not be loaded on {device}: {reason}",
            name=slot.model,
            device=slot.device,
            reason=reason,
        )
    if Path(slot.model_size_or_path).expanduser().exists():
        if isinstance(error, (KeyError, TypeError, pickle.UnpicklingError)):
            return Sentence(
                "The file of the model {name!r} is no openai-whisper checkpoint.",
                name=slot.model,
            )
        return Sentence(
            "The model {name!r} could not be loaded: {reason}",
            name=slot.model,
            reason=reason,
        )
    return Sentence(
        "The model {name!r} is not on this machine and could not be downloaded. "
        "Connect the machine to the network, or name a local file (.pt) or a folder "
        "that holds one.",
        name=slot.model,
    )


def _import_library() -> ModuleType:
    # Threads that spin while they wait for each other come to a crawl where other
    # processes use the same cores. Read once, when PyTorch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from transcription.engines import openai_library
    except ImportError as error:
        logger.info("Importing openai-whisper failed", exc_info=True)
        raise ModelUnavailableError(NOT_INSTALLED) from error
    return openai_library


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep two slots from downloading into one file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".openai-whisper.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:12]


def _arguments(options: DecodeOptions, duration_seconds: float) -> dict[str, Any]:
    """Our options as arguments of `whisper.transcribe`."""
    beam_size = options.beam_size if options.beam_size > 1 else None
    # One hundredth is a frame; what begins after the last one would never be reached,
    # and the library would look for it forever.
    end = int(duration_seconds * 100) / 100
    return {
        "task": options.task,
        "temperature": options.temperature,
        "beam_size": beam_size,
        "best_of": options.best_of,
        "patience": options.beam_patience if beam_size else None,
        # Without one the library divides by the length: what 1 means elsewhere.
        "length_penalty": (
            None if options.length_penalty == 1 else options.length_penalty
        ),
        "compression_ratio_threshold": options.compression_ratio_threshold,
        "logprob_threshold": options.log_prob_threshold,
        "no_speech_threshold": options.no_speech_threshold,
        "condition_on_previous_text": options.condition_on_previous_text,
        "initial_prompt": options.initial_prompt or None,
        "word_timestamps": options.word_timestamps,
        "prepend_punctuations": options.prepend_punctuations,
        "append_punctuations": options.append_punctuations,
        "clip_timestamps": [min(time, end) for time in options.clip_timestamps]
        or [0.0],
        "hallucination_silence_threshold": options.hallucination_silence_threshold,
    }


def _segments(heard: list[dict[str, Any]], *, with_words: bool) -> list[Segment]:
    """The library's segments as ours, without the empty ones that it keeps."""
    spoken = [segment for segment in heard if segment["text"].strip()]
    return [
        Segment(
            id=number,
            seek=segment["seek"],
            start=float(segment["start"]),
            end=float(segment["end"]),
            text=segment["text"],
            tokens=list(segment["tokens"]),
            temperature=float(segment["temperature"]),
            avg_logprob=float(segment["avg_logprob"]),
            compression_ratio=float(segment["compression_ratio"]),
            no_speech_prob=float(segment["no_speech_prob"]),
            words=_words(segment["words"]) if with_words else None,
        )
        for number, segment in enumerate(spoken)
    ]


def _words(heard: list[dict[str, Any]]) -> list[Word]:
    return [
        Word(
            word=word["word"],
            start=float(word["start"]),
            end=float(word["end"]),
            probability=float(word["probability"]),
        )
        for word in heard
    ]
