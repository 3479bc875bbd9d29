"""One model for many threads: calls that fit together become one batched call.

`CoalescingWhisper` stands in for `ctranslate2.models.Whisper` under an unmodified
`faster_whisper.WhisperModel`. Each thread calls it as if the model were its own. One
batching thread takes the waiting calls, most urgent first, joins those that the model
can answer together, and hands each caller its own part of the answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from transcription.engines.base import JobListener, ModelCall

logger = logging.getLogger(__name__)

# How long a call waits for company while other threads are about to make theirs. A
# window's features take some tens of milliseconds; the model call that is saved, more.
LINGER_SECONDS: Final = 0.010
# How long less urgent calls wait for a more urgent job that is between two of its own:
# its features are made by then, and what it waits for otherwise is a whole batch.
HOLD_SECONDS: Final = 0.250
OUT_OF_MEMORY: Final = "out of memory"


class ModelThreadDiedError(RuntimeError):
    """The batching thread has ended: this process answers no more calls."""


class CallerStoppedError(Exception):
    """The job that made this call is to stop; its answer is not wanted any more."""


@dataclass
class Caller:
    """Who makes calls: one job, whatever threads work for it.

    Attributes:
        priority: 0 is the most urgent.
        may_merge: whether its calls may share a model call with others.
        job: whose calls they are; None: no job's.
        owner_id: whose job it is.
        failure: what the model raised for one of its calls; the job ends with that.
    """

    priority: int = 1
    may_merge: bool = True
    job: JobListener | None = None
    owner_id: int | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None


@dataclass(eq=False)
class _Call:
    kind: str
    key: Hashable
    features: NDArray[np.float32]
    arguments: dict[str, Any]
    caller: Caller
    number: int
    answer: Future[Any] = field(default_factory=Future)

    @property
    def rows(self) -> int:
        return int(self.features.shape[0])

    def fail(self, error: BaseException) -> None:
        """Wake the caller with an error, unless it has its answer."""
        try:
            self.answer.set_exception(error)
        except InvalidStateError:
            pass  # It was withdrawn before.

    def succeed(self, value: Any) -> None:
        """Wake the caller with its answer, unless it does not want it any more."""
        try:
            self.answer.set_result(value)
        except InvalidStateError:
            pass  # It was withdrawn before.


class WhisperModel(Protocol):
    """What is used of `ctranslate2.models.Whisper`."""

    device: str

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        """Encoder output of a batch."""
        ...

    def generate(self, features: Any, prompts: Any, **keywords: Any) -> list[Any]:
        """One result a row."""
        ...

    def detect_language(self, features: Any) -> list[Any]:
        """One list of (token, probability) a row."""
        ...

    def align(
        self,
        features: Any,
        start_sequence: Sequence[int],
        text_tokens: list[list[int]],
        num_frames: list[int],
        *,
        median_filter_width: int,
    ) -> list[Any]:
        """One alignment a row."""
        ...


class CoalescingWhisper:
    """Thread-safe stand-in for one CTranslate2 Whisper model.

    Args:
        model: the real one; only the batching thread calls it.
        batch_size: rows of a model call at most.
        encode_rows: rows of an encoder call at most; None: as of any call.
        start_of_transcript: the id of <|startoftranscript|>.
        linger_seconds: how long a call waits for company.
        hold_seconds: how long it waits for a more urgent job between two calls.
        on_death: called when the batching thread ends by an error of its own.
    """

    def __init__(
        self,
        model: WhisperModel,
        *,
        batch_size: int,
        start_of_transcript: int,
        encode_rows: int | None = None,
        linger_seconds: float = LINGER_SECONDS,
        hold_seconds: float = HOLD_SECONDS,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Start the batching thread."""
        self._model = model
        self.batch_size = batch_size
        self._start_of_transcript = start_of_transcript
        self._encode_rows = encode_rows
        self._linger_seconds = linger_seconds
        self._hold_seconds = hold_seconds
        self._on_death = on_death
        self._caller = threading.local()
        self._condition = threading.Condition()
        self._waiting: list[_Call] = []
        self._number = 0
        # Threads inside `calls_of`, by priority.
        self._at_work: Counter[int] = Counter()
        self._dead: BaseException | None = None
        self._closing = False
        # Model calls and the rows in them by kind, for benchmarks and metrics.
        self.model_calls: Counter[str] = Counter()
        self.model_rows: Counter[str] = Counter()
        self._thread = threading.Thread(
            target=self._run, name="model calls", daemon=True
        )
        self._thread.start()

    # --- What callers use ------------------------------------------------------------

    @contextmanager
    def calls_of(self, caller: Caller) -> Iterator[None]:
        """Make the calls of this thread those of a job, for the length of a block."""
        former = getattr(self._caller, "current", None)
        self._caller.current = caller
        with self._condition:
            self._at_work[caller.priority] += 1
        try:
            yield
        finally:
            self._caller.current = former
            with self._condition:
                self._at_work[caller.priority] -= 1
                self._condition.notify_all()

    def stop_calls(self, caller: Caller) -> None:
        """Withdraw the calls of a job; its threads wake at once, with an error."""
        caller.stopped.set()
        with self._condition:
            under_way = [*self._waiting, *self._running]
            mine = [call for call in under_way if call.caller is caller]
            self._waiting = [call for call in self._waiting if call not in mine]
        for call in mine:
            call.fail(CallerStoppedError())

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        """Encoder output, on the host: (rows, positions, width)."""
        return self._ask("encode", (), features, {})

    def detect_language(self, features: Any) -> Any:
        """Languages with their probabilities, most probable first; a list a row."""
        return self._ask("detect_language", (), features, {})

    def generate(
        self, features: Any, prompts: Sequence[Sequence[int]], **keywords: Any
    ) -> Any:
        """Token sequences with scores; a result a row."""
        # The model wants prompts of one length, the transcript starting at one place.
        first = list(prompts[0])
        shape = (len(first), first.index(self._start_of_transcript))
        key = (shape, _frozen(keywords))
        return self._ask(
            "generate", key, features, {"prompts": list(prompts), "keywords": keywords}
        )

    def align(
        self,
        features: Any,
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        num_frames: int | Sequence[int],
        *,
        median_filter_width: int = 7,
    ) -> Any:
        """Tokens to moments; a result a row."""
        rows = len(text_tokens)
        frames = (
            [num_frames] * rows if isinstance(num_frames, int) else list(num_frames)
        )
        return self._ask(
            "align",
            (tuple(start_sequence), median_filter_width),
            features,
            {
                "start_sequence": list(start_sequence),
                "text_tokens": [list(tokens) for tokens in text_tokens],
                "num_frames": frames,
                "median_filter_width": median_filter_width,
            },
        )

    def __getattr__(self, name: str) -> Any:
        """Everything else is the model's own."""
        return getattr(self._model, name)

    def close(self) -> None:
        """End the batching thread; calls that wait fail."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()

    def _ask(
        self, kind: str, key: Hashable, features: Any, arguments: dict[str, Any]
    ) -> Any:
        caller = getattr(self._caller, "current", None) or Caller()
        array = np.asarray(features)
        # Calls of a job that must not merge fit to no other call.
        unmergeable = () if caller.may_merge else (object(),)
        full_key = (kind, key, array.shape[1:], array.dtype.str, *unmergeable)
        with self._condition:
            if self._dead is not None or self._closing:
                raise ModelThreadDiedError("The model answers no more calls.")
            if caller.stopped.is_set():
                raise CallerStoppedError
            self._number += 1
            call = _Call(kind, full_key, array, arguments, caller, self._number)
            self._waiting.append(call)
            self._condition.notify_all()
        return call.answer.result()

    # --- The batching thread ---------------------------------------------------------

    _running: Sequence[_Call] = ()
    # What the model works on now. A watchdog reads it, and needs no lock for that.
    model_call: ModelCall | None = None

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                self._answer(batch)
                with self._condition:
                    self._running = ()
                # Kept until the next call otherwise: encoder outputs are large.
                del batch
            error: BaseException = ModelThreadDiedError("The model was closed.")
        except BaseException as died:
            logger.critical("The batching thread died", exc_info=True)
            error = died
        self._die(error)

    def _die(self, error: BaseException) -> None:
        with self._condition:
            self._dead = error
            left = [*self._waiting, *self._running]
            self._waiting = []
        for call in left:
            call.fail(ModelThreadDiedError("The model answers no more calls."))
        if not self._closing and self._on_death is not None:
            self._on_death(error)

    def _next_batch(self) -> list[_Call] | None:
        """Wait for calls; the most urgent one and those that fit to it."""
        with self._condition:
            while not self._waiting:
                if self._closing:
                    return None
                self._condition.wait()
            began = time.monotonic()
            while True:
                if self._closing:
                    return None
                batch = self._best_batch()
                left = began + self._patience_with(batch) - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
                if not self._waiting:
                    # All were withdrawn.
                    return []
            for call in batch:
                self._waiting.remove(call)
            self._running = batch
            return batch

    def _best_batch(self) -> list[_Call]:
        """The first of the most urgent calls, and more like it of the same urgency.

        As long as it is not full and others still wait for the encoder, these go first:
        what they ask next may fill it.
        """
        priority = min(call.caller.priority for call in self._waiting)
        urgent = [call for call in self._waiting if call.caller.priority == priority]
        batch = self._joined(urgent[0], urgent)
        if not batch[0].caller.may_merge or self._is_full(batch):
            return batch
        encodes = (c for c in urgent if c.kind == "encode" and c.caller.may_merge)
        return self._joined(next(encodes, urgent[0]), urgent)

    def _joined(self, first: _Call, calls: list[_Call]) -> list[_Call]:
        """A call, and as many like it as one model call may answer."""
        batch, rows, most = [first], first.rows, self._most_rows(first.kind)
        for call in calls:
            if call is not first and call.key == first.key and rows + call.rows <= most:
                batch.append(call)
                rows += call.rows
        return batch

    def _most_rows(self, kind: str) -> int:
        """Rows of a model call of this kind at most."""
        if kind == "encode" and self._encode_rows is not None:
            return min(self._encode_rows, self.batch_size)
        return self.batch_size

    def _is_full(self, batch: list[_Call]) -> bool:
        return _rows(batch) >= self._most_rows(batch[0].kind)

    def _patience_with(self, batch: list[_Call]) -> float:
        """Seconds that the best batch so far may wait for something better."""
        if self._more_urgent_at_work(batch[0].caller.priority):
            return self._hold_seconds
        return self._linger_seconds if self._may_grow(batch) else 0.0

    def _more_urgent_at_work(self, priority: int) -> bool:
        """Whether a more urgent job is between two calls; none of its calls waits."""
        return any(n > 0 for other, n in self._at_work.items() if other < priority)

    def _may_grow(self, batch: list[_Call]) -> bool:
        """Whether waiting could bring more calls for this batch."""
        if not batch[0].caller.may_merge or self._is_full(batch):
            return False
        # Threads that wait for an answer make no call.
        return self._at_work.total() > len(self._waiting)

    def _answer(self, batch: list[_Call]) -> None:
        """Ask the model, and give each call its rows of the answer."""
        batch = self._without_failed(batch)
        if not batch:
            return
        if len(batch) > 1 and _rows(batch) > self.batch_size:
            # Its neighbours ran out of memory.
            self._answer_halves(batch)
            return
        try:
            answers = self._call_watched(batch)
        except Exception as error:  # noqa: BLE001  (whatever a native library raises)
            self._answer_apart(batch, error)
            return
        for call, answer in zip(batch, answers, strict=True):
            call.succeed(answer)

    def _answer_apart(self, batch: list[_Call], error: Exception) -> None:
        """After a failed call: smaller batches, so that only the guilty one fails."""
        if len(batch) == 1:
            batch[0].caller.failure = error
            batch[0].fail(error)
            return
        if OUT_OF_MEMORY in str(error).lower():
            self.batch_size = max(1, min(self.batch_size, _rows(batch)) // 2)
            logger.warning("Out of memory: batches of %d from now on", self.batch_size)
        self._answer_halves(batch)

    def _without_failed(self, batch: list[_Call]) -> list[_Call]:
        """Fail the calls of jobs that have failed: they would cost their neighbours."""
        left = []
        for call in batch:
            if call.caller.failure is None:
                left.append(call)
            else:
                call.fail(call.caller.failure)
        return left

    def _answer_halves(self, batch: list[_Call]) -> None:
        half = (len(batch) + 1) // 2
        self._answer(batch[:half])
        self._answer(batch[half:])

    def _call_watched(self, batch: list[_Call]) -> list[Any]:
        jobs = frozenset(call.caller.job for call in batch if call.caller.job)
        self.model_call = ModelCall(time.monotonic(), jobs)
        try:
            return self._call_model(batch)
        finally:
            self.model_call = None

    def _call_model(self, batch: list[_Call]) -> list[Any]:
        kind, first = batch[0].kind, batch[0]
        self.model_calls[kind] += 1
        self.model_rows[kind] += _rows(batch)
        features = _storage([call.features for call in batch])
        if kind == "encode":
            encoded = _to_host(self._model.encode(features, to_cpu=True))
            return [_storage([part]) for part in _split(encoded, batch)]
        if kind == "detect_language":
            return list(_split(self._model.detect_language(features), batch))
        if kind == "generate":
            prompts = [p for call in batch for p in call.arguments["prompts"]]
            results = self._model.generate(
                features, prompts, **first.arguments["keywords"]
            )
            return list(_split(results, batch))
        aligned = self._model.align(
            features,
            first.arguments["start_sequence"],
            [t for call in batch for t in call.arguments["text_tokens"]],
            [n for call in batch for n in call.arguments["num_frames"]],
            median_filter_width=first.arguments["median_filter_width"],
        )
        return list(_split(aligned, batch))


def _rows(batch: list[_Call]) -> int:
    """Rows of the model call that answers a batch."""
    return sum(call.rows for call in batch)


def _frozen(value: Any) -> Hashable:
    """Keyword arguments as something that can be compared and hashed."""
    if isinstance(value, dict):
        return tuple(sorted((name, _frozen(item)) for name, item in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    return value  # type: ignore[no-any-return]


def _storage(arrays: list[NDArray[Any]]) -> Any:
    """Rows of several calls as one CTranslate2 value on the host."""
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(joined))


def _to_host(view: Any) -> NDArray[Any]:
    """A CTranslate2 value on the host as an array; numpy has no bfloat16."""
    if view.dtype == ctranslate2.DataType.bfloat16:
        view = view.to(ctranslate2.DataType.float32)
    return np.asarray(view)


def _split(rows: Any, batch: list[_Call]) -> Iterator[Any]:
    """The part of each call in rows that stand in the order of the batch."""
    start = 0
    for call in batch:
        part = rows[start : start + call.rows]
        # A view would keep the whole batch alive for as long as one job needs its part.
        yield part.copy() if isinstance(part, np.ndarray) and len(batch) > 1 else part
        start += call.rows
