"""Whether a job that goes wrong delays those that share its batches.

Eight jobs at once, four times: all good; one cancelled while it is decoded; one whose
listener raises, as when its lease is lost; one whose model calls raise. What counts is
when the last of its seven neighbours is done, against the run in which all are good.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from benchmarks.material import OPTIONS, load_engine, speech, speedup, take_turns
from benchmarks.report import Report
from transcription.engines.base import SilentListener
from transcription.engines.faster_whisper import FasterWhisperEngine
from transcription.engines.options import DecodeOptions

JOBS: Final = 8
CLIP_SECONDS: Final = 39.0
OFFSET_SECONDS: Final = 2.7
# In the middle of its first model calls.
CANCEL_AFTER_SECONDS: Final = 2.0
MOST_TIMES: Final = 1.25


class StoppedError(Exception):
    """What a listener raises when its job is to stop."""


class BadCallError(RuntimeError):
    """What the model raises for the rows of one job."""


# What the eighth job ends with.
ENDS: Final = {
    "good": type(None),
    "cancelled": StoppedError,
    "failed": StoppedError,
    "raising": BadCallError,
}


class Stoppable(SilentListener):
    """A job that can be told to stop, as over the API."""

    def __init__(self) -> None:
        """Run on, for now."""
        self._stopped = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    def check(self) -> None:
        """Raise once the job is to stop."""
        if self._stopped.is_set():
            raise StoppedError

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Have something called then."""
        self._callbacks.append(callback)

    def stop(self) -> None:
        """Stop the job."""
        self._stopped.set()
        for callback in self._callbacks:
            callback()


class Raising(SilentListener):
    """A job that fails as soon as it has something to tell."""

    def segments(self, segments: list[Any]) -> None:
        """Raise."""
        raise StoppedError


def run(report: Report) -> None:
    """Measure the four in turns."""
    engine = load_engine(report)
    clips = [
        speech(CLIP_SECONDS, offset_seconds=number * OFFSET_SECONDS)
        for number in range(JOBS)
    ]
    guilty = make_calls_raise(engine)
    neighbours: dict[str, list[float]] = {}

    def side(name: str, bad: Callable[[ThreadPoolExecutor], Any]) -> None:
        began = time.perf_counter()
        jobs = [
            pool.submit(engine.transcribe, clip, OPTIONS, SilentListener())
            for clip in clips[1:]
        ]
        bad_job = bad(pool)
        for job in jobs:
            job.result()
        neighbours.setdefault(name, []).append(time.perf_counter() - began)
        check_end(name, bad_job.exception())

    def good(pool: ThreadPoolExecutor) -> Any:
        return pool.submit(engine.transcribe, clips[0], OPTIONS, SilentListener())

    def cancelled(pool: ThreadPoolExecutor) -> Any:
        listener = Stoppable()
        threading.Timer(CANCEL_AFTER_SECONDS, listener.stop).start()
        return pool.submit(engine.transcribe, clips[0], OPTIONS, listener)

    def failed(pool: ThreadPoolExecutor) -> Any:
        return pool.submit(engine.transcribe, clips[0], OPTIONS, Raising())

    def raising(pool: ThreadPoolExecutor) -> Any:
        return pool.submit(engine.transcribe, clips[0], guilty, SilentListener())

    bad_ways = {
        "good": good,
        "cancelled": cancelled,
        "failed": failed,
        "raising": raising,
    }
    with ThreadPoolExecutor(JOBS) as pool:
        take_turns(
            report, {name: partial(side, name, bad) for name, bad in bad_ways.items()}
        )
    report.data["neighbours_seconds"] = neighbours
    worst = 0.0
    for name in list(bad_ways)[1:]:
        times = speedup(neighbours[name][1:], neighbours["good"][1:])
        worst = max(worst, times)
        report.figure(f"beside_{name}", times, "x")
    report.judge(f"each<={MOST_TIMES}x", met=worst <= MOST_TIMES)


def check_end(name: str, error: BaseException | None) -> None:
    """Make sure that the eighth job went as wrong as it was meant to.

    Raises:
        RuntimeError: it did not.
    """
    if not isinstance(error, ENDS[name]):
        raise RuntimeError(f"The {name} job ended with {error!r}.") from error


def make_calls_raise(engine: FasterWhisperEngine) -> DecodeOptions:
    """Let the decoder raise for calls in one other language; gives such options.

    Calls of several languages share a batch, so its neighbours are in it.
    """
    model = engine.whisper._model
    token = engine.model.hf_tokenizer.token_to_id("<|es|>")

    class Guarded:
        """The model, but for calls that hold the token."""

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def generate(self, features: Any, prompts: Any, **keywords: Any) -> Any:
            if any(token in prompt for prompt in prompts):
                raise BadCallError
            return model.generate(features, prompts, **keywords)

    engine.whisper._model = Guarded()
    return dataclasses.replace(OPTIONS, language="es")
