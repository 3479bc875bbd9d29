"""faster-whisper: Whisper on CTranslate2, the default engine."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from transcription.audio import SAMPLE_RATE
from transcription.engines import demo_model
from transcription.engines.base import (
    DETECTION_WINDOWS,
    JobListener,
    LanguageDetection,
    ModelCall,
    ModelInfo,
    Transcription,
    join_text,
)
from transcription.engines.chunked import (
    FRAMES_PER_SECOND,
    ChunkedDecoder,
    convert_segment,
)
from transcription.engines.coalescing import (
    Caller,
    CallerStoppedError,
    CoalescingWhisper,
)
from transcription.engines.detection import SURE_OF_LANGUAGE
from transcription.engines.devices import resolve_device
from transcription.engines.lanes import ChunkLanes
from transcription.engines.languages import ENGLISH_ONLY, LANGUAGE_CODES
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import DEMO, SlotPlan
from transcription.engines.store import fetching
from transcription.engines.store.errors import StoreError
from transcription.engines.store.installed import revision_of
from transcription.engines.timeline import Timeline, clip_around
from transcription.errors import ModelUnavailableError
from transcription.samples import Samples, release_pages, to_float
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)

# What CTranslate2's wheel opens by itself, and where it comes from.
CUDA_LIBRARIES = {
    "libcuda.so.1": Sentence(
        "libcuda.so.1 is missing: install the NVIDIA driver, or use the device cpu."
    ),
    "libcublas.so.12": Sentence(
        "libcublas.so.12 is missing: run `pip install -r requirements/cuda.txt`."
    ),
}


START_OF_TRANSCRIPT = "<|startoftranscript|>"
# The decoder gains on a CPU too. A batch of eight gains a sixth, and takes twice the
# memory: the attention keys of a row are 18 MB (tiny) to 490 MB (large-v3).
CPU_BATCH_SIZE = 4
# The encoder does not gain, and one row at a time lets an urgent call in between.
CPU_ENCODE_ROWS = 1
# Least memory in GiB, largest batch; for the largest model in half precision.
CUDA_BATCH_SIZES = ((40, 32), (20, 24), (14, 16), (9, 8), (0, 4))
# The largest model has 3.1 GB of weights in half precision; with four rows it takes 7.
SHORT_OF_MEMORY_GIB = 8
LEAST_JOBS = 8
MODEL_THREAD_DIED_STATUS = 70


class PromptedModel(WhisperModel):  # type: ignore[misc]
    """faster-whisper's model, with a prompt that always leaves room for the text.

    Attributes:
        window: of each thread; its `language` is that of the window under way.
    """

    window = threading.local()

    def get_prompt(
        self,
        tokenizer: Any,
        previous_tokens: list[int],
        without_timestamps: bool = False,
        prefix: str | None = None,
        hotwords: str | None = None,
    ) -> list[int]:
        """The tokens before the text: hotwords, as much of the previous text as fits.

        faster-whisper grants either the half of the context: with both there was no
        room for a single token, and the job failed.
        """
        self.window.language = tokenizer.language_code
        room = self.max_length // 2 - 1
        if hotwords:
            room -= min(room, len(tokenizer.encode(" " + hotwords.strip())))
        shown = previous_tokens[max(0, len(previous_tokens) - room) :]
        prompt: list[int] = super().get_prompt(
            tokenizer, shown, without_timestamps, prefix, hotwords
        )
        return prompt


def create(
    slot: SlotPlan, *, model_dir: Path, cpu_threads: int, batch_size: int = 0
) -> FasterWhisperEngine:
    """The engine of a slot; see `registry.create_engine`."""
    return FasterWhisperEngine(
        slot, model_dir=model_dir, cpu_threads=cpu_threads, batch_size=batch_size
    )


class FasterWhisperEngine:
    """One CTranslate2 model that many jobs share.

    Attributes:
        whisper: the model as its callers see it.
        lanes: the threads that work on chunks.
        chunked: the chunked path.
    """

    whisper: CoalescingWhisper
    lanes: ChunkLanes
    chunked: ChunkedDecoder

    def __init__(
        self, slot: SlotPlan, *, model_dir: Path, cpu_threads: int, batch_size: int = 0
    ) -> None:
        """Remember what to load; a batch size of 0 is chosen by the device."""
        self._slot = slot
        self._model_dir = model_dir
        self._cpu_threads = cpu_threads
        self._batch_size = batch_size
        self._model: WhisperModel | None = None
        self._info: ModelInfo | None = None

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        if self._info is None:
            raise RuntimeError("The model is not loaded.")
        return self._info

    @property
    def batch_size(self) -> int:
        """Rows of a model call at most, as far as is known."""
        return self._batch_size or CPU_BATCH_SIZE

    @property
    def concurrent_jobs(self) -> int:
        """Enough jobs that short ones, of one chunk each, fill the batches."""
        return max(LEAST_JOBS, 2 * self.batch_size)

    @property
    def model(self) -> WhisperModel:
        """faster-whisper's model object."""
        if self._model is None:
            raise RuntimeError("The model is not loaded.")
        return self._model

    @property
    def model_call(self) -> ModelCall | None:
        """The call of the model that is under way."""
        return self.whisper.model_call

    def load(self) -> None:
        """Load the model and decode a moment of silence.

        Raises:
            ModelUnavailableError: see the message.
        """
        slot = self._slot
        device, device_index = resolve_device(
            slot.device, ctranslate2.get_cuda_device_count
        )
        if device == "cuda":
            check_cuda_libraries()
        try:
            folder = self._locate()
            self._model = PromptedModel(
                folder,
                device=device,
                device_index=device_index,
                compute_type=default_compute_type(slot, device),
                cpu_threads=self._cpu_threads,
                download_root=str(self._model_dir),
            )
        except ModelUnavailableError:
            raise
        except Exception as error:
            # Hub, network, file and CUDA errors of many libraries end here.
            logger.info("Loading %s failed", slot.model, exc_info=True)
            raise ModelUnavailableError(explain_load_failure(slot, error)) from error
        self._info = ModelInfo(
            name=slot.model,
            revision=self._revision(folder),
            engine=slot.engine,
            device=slot.device,
            compute_type=str(self._model.model.compute_type),
            notice=demo_model.NOTICE if slot.model_size_or_path == DEMO else "",
            languages=known_languages(self._model),
        )
        self._share(self._model, device)
        self._warm_up()

    def _share(self, model: WhisperModel, device: str) -> None:
        """Put the coalescing stand-in between the library and the real model."""
        self._batch_size = self._batch_size or default_batch_size(device)
        self.whisper = CoalescingWhisper(
            model.model,
            batch_size=self._batch_size,
            encode_rows=CPU_ENCODE_ROWS if device == "cpu" else None,
            start_of_transcript=model.hf_tokenizer.token_to_id(START_OF_TRANSCRIPT),
            on_death=self._on_death,
        )
        model.model = self.whisper
        self.lanes = ChunkLanes(self.whisper, 2 * self._batch_size)
        self.chunked = ChunkedDecoder(model, self.whisper, self.lanes)

    @staticmethod
    def _on_death(error: BaseException) -> None:
        """End the process: its jobs go back to the queue, the launcher starts anew."""
        logging.shutdown()
        os._exit(MODEL_THREAD_DIED_STATUS)

    def transcribe(
        self, samples: Samples, options: DecodeOptions, listener: JobListener
    ) -> Transcription:
        """Turn samples into text; see `base.Engine`."""
        may_merge = options.batching != "off"
        with self._caller_for(listener, may_merge=may_merge) as caller:
            if options.needs_order:
                with self.whisper.calls_of(caller):
                    return self._transcribe_in_order(samples, options, listener)
            return self.chunked.transcribe(samples, options, listener, caller)

    @contextmanager
    def _caller_for(
        self, listener: JobListener, *, may_merge: bool = True
    ) -> Iterator[Caller]:
        """Who makes a job's calls, which are withdrawn when the job is to stop."""
        caller = Caller(listener.priority, may_merge, listener, listener.owner_id)
        listener.on_stop(lambda: self.lanes.stop(caller))
        listener(0.0)
        try:
            yield caller
        except CallerStoppedError:
            listener.check()
            raise

    def _transcribe_in_order(
        self, samples: Samples, options: DecodeOptions, listener: JobListener
    ) -> Transcription:
        """The library's own way, window after window."""
        recording = to_float(samples)
        release_pages(samples)

        def begin_in(language: str) -> Any:
            return self.model.transcribe(
                recording,
                task=options.task,
                language=language or None,
                **_arguments(options),
            )

        heard, info = begin_in(options.language)
        unsure = info.language_probability < SURE_OF_LANGUAGE
        whole = not options.vad_filter and not options.clip_timestamps
        detects = not options.language and self.whisper.is_multilingual
        if detects and (unsure or whole) and options.batching != "off":
            # It has listened to the first window alone. Nothing is decoded so far.
            found = self.chunked.detect_language(samples, DETECTION_WINDOWS, listener)
            if found.language not in (None, info.language):
                heard, _ = begin_in(found.language)
                info = dataclasses.replace(
                    info,
                    language=found.language,
                    language_probability=found.probability,
                    all_language_probs=list(found.probabilities.items()),
                )
        timeline = Timeline(len(samples) / SAMPLE_RATE, listener.segments)
        for part in heard:
            language = self.model.window.language if options.multilingual else None
            segment = convert_segment(part, language=language)
            begin, end = clip_around(
                segment.seek / FRAMES_PER_SECOND, options.clip_timestamps
            )
            timeline.add([segment], begin=begin, end=end)
            listener(timeline.segments[-1].end)
        return Transcription(
            text=join_text(timeline.segments),
            language=info.language,
            language_probability=info.language_probability,
            language_probabilities=dict(info.all_language_probs or []),
            duration_seconds=len(samples) / SAMPLE_RATE,
            duration_after_vad_seconds=info.duration_after_vad,
            segments=timeline.segments,
            options=options.as_dict(),
        )

    def detect_language(
        self,
        samples: Samples,
        listener: JobListener,
        *,
        windows: int = DETECTION_WINDOWS,
    ) -> LanguageDetection:
        """Tell the language from several windows; see `base.Engine`."""
        if not self.model.model.is_multilingual:
            return LanguageDetection("en", 1.0, {"en": 1.0})
        with self._caller_for(listener) as caller, self.whisper.calls_of(caller):
            return self.chunked.detect_language(samples, windows, listener)

    def unload(self) -> None:
        """Free the model."""
        if self._model is None:
            return
        self.lanes.close()
        self.whisper.close()
        # Each of them holds the model.
        del self.lanes, self.whisper, self.chunked
        self._model = None

    def _locate(self) -> str:
        """What faster-whisper is given: a folder of ours, of the user, or a name."""
        wanted = self._slot.model_size_or_path
        if wanted == DEMO:
            return str(demo_model.ctranslate2_folder(self._model_dir))
        path = Path(wanted).expanduser()
        if path.is_dir():
            if not (path / "model.bin").is_file():
                raise ModelUnavailableError(
                    Sentence(
                        "The folder of the model {name!r} holds no model.bin: it is no "
                        "CTranslate2 model.",
                        name=self._slot.model,
                    )
                )
            return str(path)
        if path.is_absolute() or wanted.startswith((".", "~")):
            raise ModelUnavailableError(
                Sentence(
                    "The folder of the model {name!r} does not exist.",
                    name=self._slot.model,
                )
            )
        return str(self._fetch(wanted))

    def _fetch(self, wanted: str) -> Path:
        """The folder of a model by its name, from this machine or a source."""
        try:
            return fetching.fetch(wanted, self._model_dir)
        except StoreError as error:
            logger.info("Fetching %s failed", wanted, exc_info=True)
            raise ModelUnavailableError(
                Sentence(
                    "The model {name!r} is not on this machine and could not be "
                    "downloaded. Connect the machine to the network, or name a local "
                    "folder that holds the model.",
                    name=self._slot.model,
                )
            ) from error

    def _revision(self, folder: str) -> str:
        if self._slot.model_size_or_path == DEMO:
            return demo_model.revision()
        return revision_of(Path(folder))

    def _warm_up(self) -> None:
        """Run every part once: the first job should not pay for lazy set-up."""
        second = np.zeros(SAMPLE_RATE, dtype=np.float32)
        for vad_filter in (False, True):
            heard, _ = self.model.transcribe(
                second, language="en", temperature=0.0, vad_filter=vad_filter
            )
            for _segment_heard in heard:
                pass


def known_languages(model: WhisperModel) -> tuple[str, ...]:
    """The codes of the languages that a model has tokens for.

    faster-whisper's own `supported_languages` names Cantonese for every model.
    """
    if not model.model.is_multilingual:
        return ENGLISH_ONLY
    token_id = model.hf_tokenizer.token_to_id
    return tuple(code for code in LANGUAGE_CODES if token_id(f"<|{code}|>") is not None)


def default_compute_type(slot: SlotPlan, device: str) -> str:
    """The precision of a slot: as its plan says, else what its device is fastest in.

    The demo model is stored in half precision, so small that nothing is gained.
    """
    if slot.compute_type != "default" or slot.model_size_or_path == DEMO:
        return slot.compute_type
    if device != "cuda":
        return "int8"
    memory_gib = cuda_memory_gib()
    short = 0 < memory_gib < SHORT_OF_MEMORY_GIB
    return "int8_float16" if short else "float16"


def default_batch_size(device: str) -> int:
    """Rows of a model call that pay on a device, and fit it with room to spare."""
    if device != "cuda":
        return CPU_BATCH_SIZE
    memory_gib = cuda_memory_gib()
    return next(size for least, size in CUDA_BATCH_SIZES if memory_gib >= least)


def cuda_memory_gib() -> float:
    """The memory of the first visible CUDA device; 0 if it cannot be asked."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0.0
    if driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
        return 0.0
    return total.value / 2**30


def check_cuda_libraries() -> None:
    """Name a library that CTranslate2 would miss only in the middle of a job.

    Raises:
        ModelUnavailableError: one is missing.
    """
    for name, missing in CUDA_LIBRARIES.items():
        try:
            ctypes.CDLL(name)
        except OSError:
            raise ModelUnavailableError(missing) from None


def explain_load_failure(slot: SlotPlan, error: Exception) -> Sentence:
    """One sentence for the operator on why a model did not load."""
    folder = Path(slot.model_size_or_path).expanduser()
    names_a_folder = folder.is_dir()
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if names_a_folder:
        # CTranslate2 names the folder, and clients see this sentence.
        reason = reason.replace(str(folder), slot.model)
    reason = reason[:200].rstrip(". ")
    if isinstance(error, ValueError) and "Invalid model size" in reason:
        return Sentence(
            "{name!r} is no Whisper model that faster-whisper knows. Name one "
            "(tiny, base, small, medium, large-v3, turbo …) or a local folder.",
            name=slot.model,
        )
    if names_a_folder:
        return Sentence(
            "The model {name!r} could not be loaded: {reason}.",
            name=slot.model,
            reason=reason,
        )
    hub_errors = (OSError, ValueError, RuntimeError)
    if isinstance(error, hub_errors) and "CUDA" not in reason.upper():
        return Sentence(
            "The model {name!r} is not on this machine and could not be downloaded. "
            "Connect the machine to the network, or name a local folder that holds "
            "the model.",
            name=slot.model,
        )
    return Sentence(
        "The model {name!r} could not be loaded on {device}: {reason}.",
        name=slot.model,
        device=slot.device,
        reason=reason,
    )


def _arguments(options: DecodeOptions) -> dict[str, Any]:
    """Our options as arguments of faster-whisper."""
    arguments = options.as_dict()
    for name in ("task", "language", "batching", "audio_track"):
        del arguments[name]
    vad = arguments.pop("vad_parameters")
    if vad["max_speech_duration_s"] is None:
        vad["max_speech_duration_s"] = float("inf")
    return {
        **arguments,
        "temperature": list(options.temperature),
        "patience": options.beam_patience,
        "initial_prompt": options.initial_prompt or None,
        "hotwords": options.hotwords or None,
        "clip_timestamps": list(options.clip_timestamps) or "0",
        "vad_parameters": vad,
    }
