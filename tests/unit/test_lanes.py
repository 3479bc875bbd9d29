"""Chunks of many jobs on few threads: whose is next, and what ends a job."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.calls import START_OF_TRANSCRIPT, Callers, FakeWhisper, features
from tests.support.waiting import patient, wait_for
from transcription.engines.coalescing import (
    Caller,
    CallerStoppedError,
    CoalescingWhisper,
)
from transcription.engines.lanes import ChunkLanes

SECONDS = patient(20.0)


@pytest.fixture
def model() -> FakeWhisper:
    return FakeWhisper()


@pytest.fixture
def callers(model: FakeWhisper) -> Iterator[Callers]:
    whisper = CoalescingWhisper(
        model, batch_size=4, start_of_transcript=START_OF_TRANSCRIPT
    )
    yield Callers(whisper, model)
    model.gate.set()
    whisper.close()


@pytest.fixture
def make(callers: Callers) -> Iterator[Callable[[int], ChunkLanes]]:
    """Make lanes; they end with the test."""
    made: list[ChunkLanes] = []

    def make_lanes(count: int) -> ChunkLanes:
        made.append(ChunkLanes(callers.whisper, count))
        return made[-1]

    yield make_lanes
    for lanes in made:
        lanes.close()


class Gate:
    """Work that waits until it may end, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def work(self) -> str:
        self.begun.set()
        assert self.may_end.wait(SECONDS)
        return "done"


def run(callers: Callers, lanes: ChunkLanes, works: Any, **values: Any) -> Any:
    """Run a job in a thread of its own; its results come sorted by position."""
    caller = values.pop("caller", None) or Caller(**values)
    return callers.start(lambda: sorted(lanes.run(caller, works)))


def test_every_chunk_gives_its_result_with_its_position(make):
    lanes = make(3)

    results = dict(lanes.run(Caller(), [lambda n=n: 10 * n for n in range(20)]))

    assert results == {n: 10 * n for n in range(20)}


def test_results_come_as_they_end(make):
    slow = Gate()
    results = make(2).run(Caller(), [slow.work, lambda: "quick"])

    assert next(results) == (1, "quick")
    slow.may_end.set()
    assert list(results) == [(0, "done")]


def test_a_job_without_chunks_ends_at_once(make):
    assert list(make(2).run(Caller(), [])) == []


def test_the_least_served_job_is_next(make, callers):
    lanes = make(1)
    order: list[str] = []
    gate = Gate()

    def chunk(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    first = run(callers, lanes, [gate.work, chunk("a1"), chunk("a2"), chunk("a3")])
    assert gate.begun.wait(SECONDS)
    second = run(callers, lanes, [chunk("b0"), chunk("b1")])
    wait_for(lambda: len(lanes._jobs[1]) == 2)
    gate.may_end.set()

    first.result(SECONDS)
    second.result(SECONDS)
    assert order == ["b0", "a1", "b1", "a2", "a3"]


def test_owners_share_the_lanes_however_many_jobs_they_have(make, callers):
    lanes = make(2)
    gates = [Gate() for _ in range(2)]
    order: list[str] = []

    def chunk(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    # One owner has both lanes, and three more jobs that were never served.
    jobs = [run(callers, lanes, [gate.work], owner_id=1) for gate in gates]
    for gate in gates:
        assert gate.begun.wait(SECONDS)
    jobs += [run(callers, lanes, [chunk(f"a{n}")], owner_id=1) for n in range(3)]
    wait_for(lambda: len(lanes._jobs[1]) == 5)
    other = [chunk("b0"), chunk("b1"), chunk("b2")]
    jobs.append(run(callers, lanes, other, owner_id=2))
    wait_for(lambda: len(lanes._jobs[1]) == 6)
    # The other lane stays at work for the first owner.
    gates[0].may_end.set()
    wait_for(lambda: len(order) == 6)
    gates[1].may_end.set()

    for job in jobs:
        job.result(SECONDS)
    assert order[:3] == ["b0", "b1", "b2"]
    assert order[3:] == ["a0", "a1", "a2"]


def test_an_urgent_job_starts_though_all_other_lanes_are_taken(make, callers):
    lanes = make(2)
    gates = [Gate() for _ in range(4)]
    low = run(callers, lanes, [gate.work for gate in gates], priority=2)
    for gate in gates[:2]:
        assert gate.begun.wait(SECONDS)

    urgent = run(callers, lanes, [lambda: "urgent"], priority=0)

    assert urgent.result(SECONDS) == [(0, "urgent")]
    assert not gates[2].begun.is_set()
    for gate in gates:
        gate.may_end.set()
    assert len(low.result(SECONDS)) == 4


def test_a_chunk_that_fails_drops_the_rest_of_its_job_only(make, callers):
    lanes = make(1)
    made: list[str] = []
    gate = Gate()

    def fail() -> None:
        raise ValueError("bad chunk")

    holder = run(callers, lanes, [gate.work])
    assert gate.begun.wait(SECONDS)
    bad = run(callers, lanes, [fail, lambda: made.append("dropped")])
    good = run(callers, lanes, [lambda: made.append("good") for _ in range(3)])
    wait_for(lambda: len(lanes._jobs[1]) == 3)
    gate.may_end.set()

    assert isinstance(bad.exception(SECONDS), ValueError)
    assert len(good.result(SECONDS)) == 3
    assert holder.result(SECONDS) == [(0, "done")]
    assert made == ["good"] * 3


def test_a_chunk_that_fails_withdraws_the_calls_of_those_beside_it(make, callers):
    whisper = callers.whisper
    lanes = make(2)
    left: list[BaseException] = []
    failing = threading.Event()

    def call() -> None:
        try:
            whisper.encode(features(7.0))
        except CallerStoppedError as error:
            left.append(error)
            raise

    def fail() -> None:
        assert failing.wait(SECONDS)
        raise ValueError("bad chunk")

    with callers.plugged():
        job = run(callers, lanes, [call, fail])
        wait_for(lambda: len(whisper._waiting) == 1)
        failing.set()

        assert isinstance(job.exception(SECONDS), ValueError)
        wait_for(lambda: left)
    assert callers.model.made == []


def test_stopping_wakes_the_job_at_once(make, callers):
    lanes = make(1)
    caller, gate = Caller(), Gate()
    never: list[int] = []
    job = run(callers, lanes, [gate.work, lambda: never.append(1)], caller=caller)
    assert gate.begun.wait(SECONDS)

    lanes.stop(caller)

    assert isinstance(job.exception(SECONDS), CallerStoppedError)
    assert not gate.may_end.is_set()
    gate.may_end.set()
    assert run(callers, lanes, [lambda: "next"]).result(SECONDS) == [(0, "next")]
    assert never == []


def test_stopping_before_the_start_stops_the_first_call(make, callers, model):
    lanes = make(1)
    caller = Caller()
    lanes.stop(caller)

    with pytest.raises(CallerStoppedError):
        list(lanes.run(caller, [lambda: callers.whisper.encode(features(1.0))]))

    assert model.made == []


def test_stopping_twice_and_after_the_end_harms_nobody(make):
    lanes = make(1)
    caller = Caller()
    assert list(lanes.run(caller, [lambda: 1])) == [(0, 1)]

    lanes.stop(caller)
    lanes.stop(caller)

    assert list(lanes.run(Caller(), [lambda: 2])) == [(0, 2)]


def test_who_stops_collecting_drops_the_rest(make):
    lanes = make(1)
    made: list[int] = []
    gate = Gate()
    results = lanes.run(Caller(), [lambda: 0, gate.work, lambda: made.append(2)])
    assert next(results) == (0, 0)
    assert gate.begun.wait(SECONDS)

    results.close()
    gate.may_end.set()

    assert list(lanes.run(Caller(), [lambda: 5])) == [(0, 5)]
    assert made == []
    assert lanes._jobs[1] == []


def test_the_calls_of_a_chunk_are_those_of_its_job(make, callers, model):
    lanes = make(2)
    low, high = Caller(2), Caller(0)

    with callers.plugged():
        slow = run(
            callers, lanes, [lambda: callers.whisper.encode(features(1.0))], caller=low
        )
        wait_for(lambda: len(callers.whisper._waiting) == 1)
        fast = run(
            callers, lanes, [lambda: callers.whisper.encode(features(2.0))], caller=high
        )
        wait_for(lambda: len(callers.whisper._waiting) == 2)

    slow.result(SECONDS)
    fast.result(SECONDS)
    assert [made.values for made in model.made] == [[2.0], [1.0]]


def test_there_are_no_more_threads_than_lanes_of_each_priority(make, callers):
    before = set(threading.enumerate())
    lanes = make(3)
    names: queue.SimpleQueue[str] = queue.SimpleQueue()

    def note() -> None:
        names.put(threading.current_thread().name)

    for _ in range(4):
        jobs = [
            run(callers, lanes, [note] * 10, priority=priority) for priority in range(2)
        ]
        for job in jobs:
            job.result(SECONDS)

    new = {t for t in threading.enumerate() if t.name.startswith("lane")} - before
    assert 2 <= len(new) <= 6
    assert names.qsize() == 80


def test_one_chunk_starts_one_lane(make):
    before = set(threading.enumerate())
    lanes = make(8)

    list(lanes.run(Caller(), [lambda: None]))

    assert len(set(threading.enumerate()) - before) == 1


def test_lanes_end_when_they_are_closed(make):
    before = set(threading.enumerate())
    lanes = make(3)
    list(lanes.run(Caller(), [lambda: None] * 5))

    lanes.close()

    wait_for(lambda: set(threading.enumerate()) <= before)


def test_an_idle_lane_keeps_nothing_of_what_it_did(make):
    class Heard(np.ndarray):
        pass

    kept: list[weakref.ref[Any]] = []

    def work() -> Any:
        result = np.zeros(4).view(Heard)
        kept.append(weakref.ref(result))
        return result

    lanes = make(1)
    for _ in lanes.run(Caller(), [work]):
        pass

    def is_gone() -> bool:
        gc.collect()
        return kept[0]() is None

    del _
    wait_for(is_gone)
