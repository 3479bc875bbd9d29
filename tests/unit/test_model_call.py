"""What the model works on now, and for whom, as a watchdog sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.calls import (
    SECONDS,
    START_OF_TRANSCRIPT,
    Callers,
    FakeWhisper,
    features,
)
from transcription.engines.base import SilentListener
from transcription.engines.coalescing import Caller, CoalescingWhisper


@pytest.fixture
def callers() -> Iterator[Callers]:
    model = FakeWhisper()
    whisper = CoalescingWhisper(
        model, batch_size=8, start_of_transcript=START_OF_TRANSCRIPT
    )
    yield Callers(whisper, model)
    model.gate.set()
    whisper.close()


def test_a_model_that_rests_has_no_call(callers):
    callers.start(lambda: callers.whisper.encode(features(1.0))).result(SECONDS)

    assert callers.whisper.model_call is None


def test_a_call_tells_its_jobs_and_when_it_began(callers):
    jobs = [SilentListener(), SilentListener()]
    before = time.monotonic()
    with callers.plugged():
        for caller in [Caller(job=job) for job in jobs]:
            callers.queue(lambda: callers.whisper.encode(features(1.0)), caller)
        callers.queue(
            lambda: callers.whisper.detect_language(features(1.0)),
            Caller(job=SilentListener()),
        )
        # Only the batch of the first two is let in.
        callers.model.act = lambda call: callers.model.gate.clear()
    callers.model.entered.get(timeout=SECONDS)

    call = callers.whisper.model_call

    assert call is not None
    assert call.jobs == set(jobs)
    assert before <= call.began_at <= time.monotonic()


def test_a_call_that_failed_is_over(callers):
    def fail(call: Any) -> None:
        raise ValueError

    callers.model.act = fail
    answer = callers.start(lambda: callers.whisper.encode(features(1.0)))

    assert isinstance(answer.exception(SECONDS), ValueError)
    assert callers.whisper.model_call is None


def test_a_call_outside_any_job_has_none(callers):
    with callers.plugged():
        call = callers.whisper.model_call

    assert call is not None
    assert call.jobs == set()
