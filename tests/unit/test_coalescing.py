"""Calls of many threads on one model: who shares, who waits, who gets what."""

from __future__ import annotations

import gc
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import ctranslate2
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from tests.support.calls import START_OF_TRANSCRIPT, Callers, FakeWhisper, features
from tests.support.waiting import patient, wait_for
from transcription.engines.coalescing import (
    Caller,
    CallerStoppedError,
    CoalescingWhisper,
    ModelThreadDiedError,
)

SECONDS = patient(20.0)
# Longer than any test may take: who lingers is found out.
FOREVER_SECONDS = 600.0
PROMPT = [START_OF_TRANSCRIPT, 5, 6]


@pytest.fixture
def model() -> FakeWhisper:
    return FakeWhisper()


@pytest.fixture
def make(model: FakeWhisper) -> Iterator[Callable[..., Callers]]:
    """Make a coalescing Whisper with threads that call it."""
    made: list[CoalescingWhisper] = []

    def make_callers(batch_size: int = 8, **arguments: Any) -> Callers:
        whisper = CoalescingWhisper(
            model,
            batch_size=batch_size,
            start_of_transcript=START_OF_TRANSCRIPT,
            **arguments,
        )
        made.append(whisper)
        return Callers(whisper, model)

    yield make_callers
    model.gate.set()
    for whisper in made:
        whisper.close()


@pytest.fixture
def callers(make: Callable[..., Callers]) -> Callers:
    return make()


def encode(whisper: CoalescingWhisper, value: float) -> Any:
    return np.array(whisper.encode(features(value)))


def generate(whisper: CoalescingWhisper, value: float) -> Any:
    return whisper.generate(features(value), [[*PROMPT, int(value)]], beam_size=5)


def align(whisper: CoalescingWhisper, value: float) -> Any:
    tokens = list(range(int(value) + 1))
    return whisper.align(features(value), PROMPT, [tokens], 100 + int(value))


def detect_language(whisper: CoalescingWhisper, value: float) -> Any:
    return whisper.detect_language(features(value))


def answer_of(call: Any, value: float) -> Any:
    """What a call is answered if it is made alone."""
    if call is encode:
        return np.full((1, 2, 3), 2 * value, dtype=np.float32)
    if call is generate:
        return [(value, [*PROMPT, int(value)])]
    if call is align:
        return [(value, list(range(int(value) + 1)), 100 + int(value))]
    return [[("<|en|>", value)]]


CALLS = [encode, generate, align, detect_language]


# --- Sharing -------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_calls_of_several_threads_become_one_and_each_gets_its_own(
    callers, model, call
):
    values = [4.0, 1.0, 3.0, 2.0]

    with callers.plugged():
        for value in values:
            callers.queue(lambda value=value: call(callers.whisper, value))

    for value, result in zip(values, callers.results(), strict=True):
        np.testing.assert_equal(result, answer_of(call, value))
    assert [made.values for made in model.made] == [values]


def test_each_of_many_threads_gets_its_own_answers_call_after_call(make, model):
    callers = make(batch_size=4, linger_seconds=0.001)

    # Or the first would be done before the second has begun.
    together = threading.Barrier(6)

    def work(job: int) -> list[Any]:
        together.wait(SECONDS)
        return [generate(callers.whisper, 100 * job + step) for step in range(25)]

    jobs = [
        callers.start(lambda job=job: work(job), Caller(priority=job % 2))
        for job in range(6)
    ]

    for job, answers in enumerate(jobs):
        assert answers.result(SECONDS) == [
            answer_of(generate, 100.0 * job + step) for step in range(25)
        ]
    assert callers.whisper.model_rows == {"generate": 150}
    assert callers.whisper.model_calls["generate"] == len(model.made) < 150


def test_languages_may_share(callers, model):
    prompts = [[START_OF_TRANSCRIPT, language, 7] for language in (11, 12, 13)]

    with callers.plugged():
        for number, prompt in enumerate(prompts):
            callers.queue(
                lambda n=number, p=prompt: callers.whisper.generate(features(n), [p])
            )

    assert callers.results() == [[(float(n), prompts[n])] for n in range(3)]
    assert len(model.made) == 1


UNLIKE = {
    "prompt length": (
        lambda w: w.generate(features(1), [PROMPT]),
        lambda w: w.generate(features(2), [[*PROMPT, 8]]),
    ),
    "place of the start": (
        lambda w: w.generate(features(1), [[9, START_OF_TRANSCRIPT, 5]]),
        lambda w: w.generate(features(2), [[START_OF_TRANSCRIPT, 5, 9]]),
    ),
    "keyword": (
        lambda w: w.generate(features(1), [PROMPT], beam_size=5),
        lambda w: w.generate(features(2), [PROMPT], beam_size=1),
    ),
    "keyword that one lacks": (
        lambda w: w.generate(features(1), [PROMPT], sampling_temperature=0.0),
        lambda w: w.generate(features(2), [PROMPT]),
    ),
    "list as keyword": (
        lambda w: w.generate(features(1), [PROMPT], suppress_tokens=[-1]),
        lambda w: w.generate(features(2), [PROMPT], suppress_tokens=[-1, 3]),
    ),
    "shape": (
        lambda w: w.encode(features(1, shape=(2, 3))),
        lambda w: w.encode(features(2, shape=(2, 4))),
    ),
    "type of number": (
        lambda w: w.encode(features(1)),
        lambda w: w.encode(features(2).astype(np.float16)),
    ),
    "start sequence": (
        lambda w: w.align(features(1), [1, 2], [[3]], 10),
        lambda w: w.align(features(2), [1, 3], [[3]], 10),
    ),
    "median filter": (
        lambda w: w.align(features(1), [1], [[3]], 10, median_filter_width=7),
        lambda w: w.align(features(2), [1], [[3]], 10, median_filter_width=5),
    ),
    "kind": (
        lambda w: w.encode(features(1)),
        lambda w: w.detect_language(features(2)),
    ),
}


@pytest.mark.parametrize("difference", UNLIKE)
def test_calls_that_do_not_fit_are_made_apart(callers, model, difference):
    one, other = UNLIKE[difference]

    with callers.plugged():
        callers.queue(lambda: one(callers.whisper))
        callers.queue(lambda: other(callers.whisper))

    callers.results()
    assert [made.values for made in model.made] == [[1.0], [2.0]]


def test_calls_of_a_job_that_may_not_share_are_made_one_by_one(callers, model):
    alone = Caller(may_merge=False)

    with callers.plugged():
        callers.queue(lambda: generate(callers.whisper, 1.0), alone)
        callers.queue(lambda: generate(callers.whisper, 2.0), alone)
        callers.queue(lambda: generate(callers.whisper, 3.0), Caller())
        callers.queue(lambda: generate(callers.whisper, 4.0), Caller(may_merge=False))

    callers.results()
    assert [made.values for made in model.made] == [[1.0], [2.0], [3.0], [4.0]]


def test_a_batch_has_no_more_rows_than_it_may(make, model):
    callers = make(batch_size=4)
    sizes = [3, 2, 1, 1, 6, 1]
    wanted = [[10.0 * n + i for i in range(size)] for n, size in enumerate(sizes)]

    with callers.plugged():
        for values in wanted:
            callers.queue(
                lambda values=values: callers.whisper.detect_language(features(*values))
            )

    found = [[row[0][1] for row in answer] for answer in callers.results()]
    assert found == wanted
    # What is larger by itself goes alone; what fits is not left behind.
    assert [made.rows for made in model.made] == [4, 4, 6]


def test_encoder_output_is_each_callers_own(callers, model):
    with callers.plugged():
        for value in (1.0, 2.0):
            callers.queue(lambda value=value: callers.whisper.encode(features(value)))
    together = [np.asarray(result) for result in callers.results()]
    alone = [np.array(callers.whisper.encode(features(value))) for value in (1.0, 2.0)]

    np.testing.assert_array_equal(together, alone)
    together[0][:] = 99.0
    np.testing.assert_array_equal(together[1], alone[1])
    assert all(m.arguments == {"to_cpu": True} for m in model.made)
    # Parts of one block would keep all of it for as long as one job needs its own.
    first, second = (array.ctypes.data for array in together)
    assert second - first != together[0].nbytes


@pytest.mark.parametrize(
    ("stored", "given_out"),
    [
        (ctranslate2.DataType.float32, ctranslate2.DataType.float32),
        (ctranslate2.DataType.float16, ctranslate2.DataType.float16),
        # numpy has none.
        (ctranslate2.DataType.bfloat16, ctranslate2.DataType.float32),
    ],
)
def test_encoder_output_of_every_type_can_be_split(callers, model, stored, given_out):
    model.encoded_type = stored

    with callers.plugged():
        for value in (1.5, 2.5, 3.5):
            callers.queue(lambda value=value: callers.whisper.encode(features(value)))

    for value, view in zip((3.0, 5.0, 7.0), callers.results(), strict=True):
        assert view.dtype == given_out
        # It goes back to the model as it came, in one piece with others.
        np.testing.assert_array_equal(np.array(view), np.full((1, 2, 3), value))
        assert callers.whisper.detect_language(view) == [[("<|en|>", value)]]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(1, 3), st.integers(1, 2), st.booleans()
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 4),
)
@settings(max_examples=25)
def test_whatever_is_asked_everyone_gets_their_own(asked, batch_size):
    model = FakeWhisper()
    whisper = CoalescingWhisper(
        model, batch_size=batch_size, start_of_transcript=START_OF_TRANSCRIPT
    )
    callers = Callers(whisper, model)

    with callers.plugged():
        for number, (priority, rows, width, may_merge) in enumerate(asked):
            values = [10.0 * number + row for row in range(rows)]
            given_in = features(*values, shape=(width, 2))
            callers.queue(
                partial(whisper.detect_language, given_in),
                Caller(priority, may_merge=may_merge),
            )
    results = callers.results()
    whisper.close()

    for number, (result, (_, rows, _, _)) in enumerate(
        zip(results, asked, strict=True)
    ):
        assert [row[0][1] for row in result] == [10.0 * number + r for r in range(rows)]
    served: list[int] = []
    for made in model.made:
        members = sorted({int(value // 10) for value in made.values})
        assert len({asked[member][0] for member in members}) == 1
        assert len(members) == 1 or made.rows <= batch_size
        assert len(members) == 1 or all(asked[member][3] for member in members)
        served.append(asked[members[0]][0])
    assert served == sorted(served)


# --- Order and waiting ---------------------------------------------------------------


def test_while_urgent_calls_wait_a_batch_holds_only_these(callers, model):
    low, normal, high = (Caller(priority) for priority in (2, 1, 0))

    with callers.plugged():
        for value, caller in enumerate((low, normal, high, low, high, normal)):
            callers.queue(lambda value=value: encode(callers.whisper, value), caller)

    callers.results()
    assert [made.values for made in model.made] == [[2.0, 4.0], [1.0, 5.0], [0.0, 3.0]]


def test_nobody_waits_for_company_that_cannot_come(make):
    callers = make(linger_seconds=FOREVER_SECONDS)

    assert callers.start(lambda: encode(callers.whisper, 1.0)).result(SECONDS).any()
    alone = callers.start(lambda: encode(callers.whisper, 1.0), Caller())

    assert alone.result(SECONDS).any()


def test_a_call_waits_for_those_who_are_about_to_call(make, model):
    callers = make(linger_seconds=FOREVER_SECONDS)
    whisper = callers.whisper

    with whisper.calls_of(Caller()):
        first = callers.queue(lambda: encode(whisper, 1.0), Caller())
        second = encode(whisper, 2.0)

    assert (first.result(SECONDS)[0, 0, 0], second[0, 0, 0]) == (2.0, 4.0)
    assert [made.values for made in model.made] == [[1.0, 2.0]]


def test_a_call_waits_no_longer_than_those_who_could_join_are_at_work(make, model):
    callers = make(linger_seconds=FOREVER_SECONDS)

    with callers.whisper.calls_of(Caller()):
        answer = callers.queue(lambda: encode(callers.whisper, 1.0), Caller())
        assert not model.made

    assert answer.result(SECONDS).any()


def test_a_call_waits_only_so_long(make):
    callers = make(linger_seconds=0.05)

    with callers.whisper.calls_of(Caller()):
        began = time.monotonic()
        callers.start(lambda: encode(callers.whisper, 1.0), Caller()).result(SECONDS)

    assert time.monotonic() - began >= 0.05


def test_a_full_batch_waits_for_nobody(make):
    callers = make(batch_size=1, linger_seconds=FOREVER_SECONDS)

    with callers.whisper.calls_of(Caller()):
        answer = callers.start(lambda: encode(callers.whisper, 1.0), Caller())

        assert answer.result(SECONDS).any()


def test_a_call_that_may_not_share_waits_for_nobody(make):
    callers = make(linger_seconds=FOREVER_SECONDS)

    with callers.whisper.calls_of(Caller()):
        answer = callers.start(
            lambda: encode(callers.whisper, 1.0), Caller(may_merge=False)
        )

        assert answer.result(SECONDS).any()


def test_a_batch_that_is_not_full_lets_those_encode_first_who_may_join(make, model):
    callers = make(batch_size=3, encode_rows=1)

    with callers.plugged():
        callers.queue(lambda: generate(callers.whisper, 1.0), Caller())
        callers.queue(lambda: generate(callers.whisper, 2.0), Caller(priority=2))
        for value in (3.0, 4.0):
            callers.queue(
                lambda value=value: [
                    encode(callers.whisper, value),
                    generate(callers.whisper, value),
                ],
                Caller(),
            )

    callers.results()
    made = [(call.kind, call.values) for call in model.made]
    assert made[:2] == [("encode", [3.0]), ("encode", [4.0])]
    # Who was first stays first; less urgent calls neither join nor pass.
    assert made[2][0] == "generate"
    assert made[2][1][0] == 1.0
    assert sorted(made[2][1]) == [1.0, 3.0, 4.0]
    assert made[3] == ("generate", [2.0])


def test_a_full_batch_goes_before_those_who_encode(make, model):
    callers = make(batch_size=2, encode_rows=1)

    with callers.plugged():
        callers.queue(lambda: generate(callers.whisper, 1.0), Caller())
        callers.queue(lambda: encode(callers.whisper, 2.0), Caller())
        callers.queue(lambda: generate(callers.whisper, 3.0), Caller())

    callers.results()
    assert [call.values for call in model.made] == [[1.0, 3.0], [2.0]]


def test_encoder_calls_have_no_more_rows_than_they_may(make, model):
    callers = make(batch_size=4, encode_rows=1)

    with callers.plugged():
        for value in (1.0, 2.0):
            callers.queue(lambda value=value: encode(callers.whisper, value), Caller())

    callers.results()
    assert [call.values for call in model.made] == [[1.0], [2.0]]


def test_less_urgent_calls_wait_for_an_urgent_job_between_its_calls(make, model):
    callers = make(hold_seconds=FOREVER_SECONDS)
    whisper = callers.whisper

    with whisper.calls_of(Caller(priority=0)):
        encode(whisper, 1.0)
        low = callers.queue(lambda: encode(whisper, 2.0), Caller(priority=2))
        generate(whisper, 3.0)
        assert not low.done()

    assert low.result(SECONDS).any()
    assert [call.values for call in model.made] == [[1.0], [3.0], [2.0]]


def test_less_urgent_calls_wait_only_so_long(make):
    callers = make(hold_seconds=0.05)

    with callers.whisper.calls_of(Caller(priority=0)):
        began = time.monotonic()
        low = callers.start(lambda: encode(callers.whisper, 1.0), Caller(priority=2))
        assert low.result(SECONDS).any()

    assert time.monotonic() - began >= 0.05


def test_urgent_calls_wait_for_no_less_urgent_job(make):
    callers = make(hold_seconds=FOREVER_SECONDS)

    with callers.whisper.calls_of(Caller(priority=2)):
        urgent = callers.start(lambda: encode(callers.whisper, 1.0), Caller(priority=0))

        assert urgent.result(SECONDS).any()


def test_the_caller_of_an_outer_block_comes_back(callers, model):
    outer, inner = Caller(), Caller()
    whisper = callers.whisper

    with whisper.calls_of(outer):
        with whisper.calls_of(inner):
            pass
        whisper.stop_calls(inner)
        encode(whisper, 1.0)
        whisper.stop_calls(outer)
        with pytest.raises(CallerStoppedError):
            encode(whisper, 2.0)
    encode(whisper, 3.0)

    assert [made.values for made in model.made] == [[1.0], [3.0]]
    assert whisper._at_work.total() == 0


# --- Errors --------------------------------------------------------------------------


def test_out_of_memory_makes_batches_smaller_and_fails_nobody(make, model):
    callers = make(batch_size=16)

    def run_out(made: Any) -> None:
        if made.rows > 3:
            raise RuntimeError("CUDA failed with error out of memory")

    model.act = run_out

    with callers.plugged():
        for value in range(8):
            callers.queue(lambda value=value: generate(callers.whisper, value))

    assert callers.results() == [answer_of(generate, value) for value in range(8)]
    # Eight and four were too many; nothing larger is tried again.
    assert callers.whisper.batch_size == 2
    assert [made.rows for made in model.made] == [8, 4, 2, 2, 2, 2]


def test_a_call_alone_that_runs_out_of_memory_fails(callers, model):
    def run_out(made: Any) -> None:
        raise RuntimeError("out of memory")

    model.act = run_out

    with pytest.raises(RuntimeError, match="out of memory"):
        encode(callers.whisper, 1.0)
    assert callers.whisper.batch_size >= 1


@pytest.mark.parametrize("guilty", [0, 3, 6])
def test_a_call_that_raises_fails_alone(callers, model, guilty):
    def raise_on_guilty(made: Any) -> None:
        if guilty in made.values:
            raise ValueError("bad tokens")

    model.act = raise_on_guilty

    with callers.plugged():
        for value in range(7):
            callers.queue(lambda value=value: generate(callers.whisper, value))

    errors = callers.errors()
    assert isinstance(errors.pop(guilty), ValueError)
    assert errors == [None] * 6
    for value in set(range(7)) - {guilty}:
        assert callers.answers[value].result() == answer_of(generate, value)
    assert callers.whisper.batch_size == 8
    # Once together, then halves: a bad call costs few others.
    assert len(model.made) <= 7


def test_a_job_that_failed_costs_its_neighbours_no_second_try(callers, model):
    guilty = Caller()

    def raise_on_guilty(made: Any) -> None:
        if made.values[0] < 2 or 7.0 in made.values:
            raise ValueError("bad tokens")

    model.act = raise_on_guilty

    with callers.plugged():
        for value in range(8):
            caller = guilty if value in (0, 1, 7) else Caller()
            callers.queue(lambda value=value: generate(callers.whisper, value), caller)

    errors = callers.errors()
    assert [n for n, error in enumerate(errors) if error] == [0, 1, 7]
    assert len({id(error) for error in errors if error}) == 1
    # 7 was not tried again: its job has failed.
    assert [call.values for call in model.made if len(call.values) < 8] == [
        [0.0, 1.0, 2.0, 3.0],
        [0.0, 1.0],
        [0.0],
        [2.0, 3.0],
        [4.0, 5.0, 6.0],
    ]


def test_the_model_goes_on_after_a_call_that_raised(callers, model):
    def fail(made: Any) -> None:
        raise ValueError("bad tokens")

    model.act = fail
    with pytest.raises(ValueError, match="bad tokens"):
        encode(callers.whisper, 1.0)
    model.act = lambda made: None

    assert encode(callers.whisper, 1.0)[0, 0, 0] == 2.0


# --- Stopping a job ------------------------------------------------------------------


def test_stopped_calls_that_wait_are_withdrawn(callers, model):
    leaving, staying = Caller(), Caller()

    with callers.plugged():
        callers.queue(lambda: encode(callers.whisper, 1.0), leaving)
        callers.queue(lambda: encode(callers.whisper, 2.0), staying)
        callers.queue(lambda: encode(callers.whisper, 3.0), leaving)

        callers.whisper.stop_calls(leaving)

        # The model is still busy with the call before.
        for answer in (callers.answers[0], callers.answers[2]):
            assert isinstance(answer.exception(SECONDS), CallerStoppedError)
        assert not callers.answers[1].done()

    assert callers.answers[1].result(SECONDS)[0, 0, 0] == 4.0
    assert [made.values for made in model.made] == [[2.0]]


def test_the_answer_to_a_stopped_call_under_way_is_dropped(callers, model):
    leaving = Caller()
    with callers.plugged():
        callers.queue(lambda: encode(callers.whisper, 1.0), leaving)
        callers.queue(lambda: encode(callers.whisper, 2.0), Caller())
        model.entered = queue.SimpleQueue()
        model.act = lambda made: model.gate.clear()
    assert model.entered.get(timeout=SECONDS).values == [1.0, 2.0]

    callers.whisper.stop_calls(leaving)

    first, second = callers.answers
    assert isinstance(first.exception(SECONDS), CallerStoppedError)
    assert not second.done()
    model.gate.set()
    assert second.result(SECONDS)[0, 0, 0] == 4.0


def test_a_stopped_job_makes_no_more_calls(callers, model):
    caller = Caller()
    callers.whisper.stop_calls(caller)

    with callers.whisper.calls_of(caller), pytest.raises(CallerStoppedError):
        encode(callers.whisper, 1.0)

    assert model.made == []


def test_withdrawing_the_only_call_that_lingers_harms_nobody(make, model):
    callers = make(linger_seconds=FOREVER_SECONDS)
    caller = Caller()

    with callers.whisper.calls_of(Caller()):
        lingering = callers.queue(lambda: encode(callers.whisper, 1.0), caller)
        callers.whisper.stop_calls(caller)
        assert isinstance(lingering.exception(SECONDS), CallerStoppedError)
    after = callers.start(lambda: encode(callers.whisper, 2.0))

    assert after.result(SECONDS)[0, 0, 0] == 4.0
    assert [made.values for made in model.made] == [[2.0]]


# --- The end -------------------------------------------------------------------------


class DeathError(BaseException):
    """What no model call should raise."""


def test_when_the_thread_dies_every_call_fails_at_once(make, model):
    deaths: list[BaseException] = []

    def die(made: Any) -> None:
        raise DeathError

    callers = make(on_death=deaths.append)
    with callers.plugged():
        callers.queue(lambda: encode(callers.whisper, 1.0))
        callers.queue(lambda: generate(callers.whisper, 2.0))
        model.act = die

    assert [type(error) for error in callers.errors()] == [ModelThreadDiedError] * 2
    with pytest.raises(ModelThreadDiedError):
        encode(callers.whisper, 3.0)
    callers.whisper._thread.join(SECONDS)
    assert [type(error) for error in deaths] == [DeathError]
    assert model.made == []


def test_a_thread_that_dies_wakes_callers_before_it_says_so(make, model):
    said, may_end = threading.Event(), threading.Event()

    def die(made: Any) -> None:
        raise DeathError

    def note_death(error: BaseException) -> None:
        said.set()
        may_end.wait(SECONDS)

    callers = make(on_death=note_death)
    model.act = die

    answer = callers.start(lambda: encode(callers.whisper, 1.0))

    assert isinstance(answer.exception(SECONDS), ModelThreadDiedError)
    assert said.wait(SECONDS)
    may_end.set()


def test_closing_fails_what_waits_and_what_comes(make, model):
    deaths: list[BaseException] = []
    callers = make(on_death=deaths.append)

    with callers.plugged():
        callers.queue(lambda: encode(callers.whisper, 1.0))
        closing = threading.Thread(target=callers.whisper.close)
        closing.start()
        wait_for(lambda: callers.whisper._closing)
    closing.join(SECONDS)

    assert isinstance(callers.errors()[0], ModelThreadDiedError)
    with pytest.raises(ModelThreadDiedError):
        encode(callers.whisper, 2.0)
    assert not callers.whisper._thread.is_alive()
    assert model.made == []
    assert deaths == []
    callers.whisper.close()


def test_closing_does_not_wait_for_company(make):
    callers = make(linger_seconds=FOREVER_SECONDS)

    with callers.whisper.calls_of(Caller()):
        answer = callers.queue(lambda: encode(callers.whisper, 1.0), Caller())
        callers.whisper.close()

    assert isinstance(answer.exception(SECONDS), ModelThreadDiedError)


def test_a_call_that_was_answered_is_not_kept(callers):
    given_in = features(1.0)
    kept = weakref.ref(given_in)
    callers.whisper.encode(given_in)

    del given_in

    def is_gone() -> bool:
        gc.collect()
        return kept() is None

    # Encoder outputs of a large model are many megabytes.
    wait_for(is_gone)


def test_everything_else_is_the_models_own(callers, model):
    model.compute_type = "int8"

    assert callers.whisper.is_multilingual is True
    assert callers.whisper.device == "cpu"
    assert callers.whisper.compute_type == "int8"
    with pytest.raises(AttributeError, match="nothing_like_it"):
        callers.whisper.nothing_like_it  # noqa: B018
