"""A Whisper that notes its calls, and threads that make some at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ctranslate2
import numpy as np

from tests.support.waiting import patient, wait_for
from transcription.engines.coalescing import Caller, CoalescingWhisper

START_OF_TRANSCRIPT = 1
SECONDS = patient(20.0)


@dataclass
class Made:
    """One call that reached the model."""

    kind: str
    features: Any
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.features)

    @property
    def values(self) -> list[float]:
        """What tells its rows apart."""
        return [float(row.flat[0]) for row in self.features]


class FakeWhisper:
    """Answers each row with what it was given, once its gate is open.

    Attributes:
        made: the calls, in order.
        entered: gets each call before it waits at the gate.
        act: called with each call behind the gate; may raise.
        encoded_type: the type of encoder output.
    """

    device = "cpu"
    is_multilingual = True

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.entered: queue.SimpleQueue[Made] = queue.SimpleQueue()
        self.gate = threading.Event()
        self.gate.set()
        self.act: Callable[[Made], None] = lambda call: None
        self.encoded_type = ctranslate2.DataType.float32

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        rows = self._note("encode", features, to_cpu=to_cpu)
        view = ctranslate2.StorageView.from_array(np.ascontiguousarray(rows * 2))
        return view.to(self.encoded_type)

    def detect_language(self, features: Any) -> list[Any]:
        rows = self._note("detect_language", features)
        return [[("<|en|>", float(row.flat[0]))] for row in rows]

    def generate(self, features: Any, prompts: Any, **keywords: Any) -> list[Any]:
        rows = self._note("generate", features, **keywords)
        assert len(prompts) == len(rows)
        return [(float(r.flat[0]), p) for r, p in zip(rows, prompts, strict=True)]

    def align(
        self,
        features: Any,
        start_sequence: Sequence[int],
        text_tokens: list[list[int]],
        num_frames: list[int],
        *,
        median_filter_width: int,
    ) -> list[Any]:
        rows = self._note("align", features, median_filter_width=median_filter_width)
        assert len(rows) == len(text_tokens) == len(num_frames)
        return [
            (float(row.flat[0]), tokens, frames)
            for row, tokens, frames in zip(rows, text_tokens, num_frames, strict=True)
        ]

    def _note(self, kind: str, features: Any, **arguments: Any) -> Any:
        made = Made(kind, np.array(features), arguments)
        self.made.append(made)
        self.entered.put(made)
        assert self.gate.wait(SECONDS)
        self.act(made)
        return made.features


def features(*values: float, shape: tuple[int, ...] = (2, 3)) -> Any:
    """One row for each value, filled with it."""
    return np.stack([np.full(shape, value, dtype=np.float32) for value in values])


class Callers:
    """Threads that call one model.

    Attributes:
        answers: of the calls started, in that order.
    """

    def __init__(self, whisper: CoalescingWhisper, model: FakeWhisper) -> None:
        self.whisper = whisper
        self.model = model
        self.answers: list[Future[Any]] = []

    def start(
        self, call: Callable[[], Any], caller: Caller | None = None
    ) -> Future[Any]:
        """Make a call in a thread of its own."""
        answer: Future[Any] = Future()

        def make() -> None:
            try:
                if caller is None:
                    answer.set_result(call())
                    return
                with self.whisper.calls_of(caller):
                    result = call()
                answer.set_result(result)
            except BaseException as error:  # noqa: BLE001  (goes to the test)
                answer.set_exception(error)

        threading.Thread(target=make, daemon=True).start()
        return answer

    def queue(
        self, call: Callable[[], Any], caller: Caller | None = None
    ) -> Future[Any]:
        """Make a call and return once it waits behind the one under way."""
        waiting = len(self.whisper._waiting)
        answer = self.start(call, caller)
        wait_for(lambda: len(self.whisper._waiting) > waiting)
        self.answers.append(answer)
        return answer

    @contextmanager
    def plugged(self, value: float = -1.0) -> Iterator[None]:
        """Keep the model busy with one call for the length of the block."""
        self.model.gate.clear()
        plug = self.start(lambda: self.whisper.encode(features(value, shape=(1, 1))))
        self.model.entered.get(timeout=SECONDS)
        self.model.made.clear()
        try:
            yield
        finally:
            self.model.gate.set()
        plug.exception(SECONDS)

    def results(self) -> list[Any]:
        return [answer.result(SECONDS) for answer in self.answers]

    def errors(self) -> list[BaseException | None]:
        return [answer.exception(SECONDS) for answer in self.answers]
