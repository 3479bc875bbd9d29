"""The arithmetic of rates, on a clock that a test turns."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperhub import rates
from whisperhub.rates import MAX_NAMES, MemoryRates, Rate, Standing


class Clock:
    """Seconds since some moment."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def standing(counted: MemoryRates, rate: Rate, *, cost: int = 1) -> Standing:
    return rates._standing(rate, *counted.ask("x", rate, cost=cost))


def test_so_many_come_at_once_and_no_more():
    counted, rate = MemoryRates(Clock()), Rate(3, 60)

    taken = [standing(counted, rate) for _ in range(4)]

    assert [each.allowed for each in taken] == [True, True, True, False]
    assert [each.remaining for each in taken] == [2, 1, 0, 0]
    assert [each.reset_seconds for each in taken] == [20, 40, 60, 60]
    assert [each.retry_seconds for each in taken] == [0, 0, 20, 20]


def test_one_after_the_other_comes_back():
    clock = Clock()
    counted, rate = MemoryRates(clock), Rate(3, 60)
    for _ in range(3):
        standing(counted, rate)

    clock.now += 19.9
    assert not standing(counted, rate).allowed
    clock.now += 0.1
    assert standing(counted, rate).allowed
    assert not standing(counted, rate).allowed
    clock.now += 3600
    assert standing(counted, rate).remaining == 2


def test_a_refusal_and_a_look_cost_nothing():
    counted, rate = MemoryRates(Clock()), Rate(1, 60)
    standing(counted, rate)

    assert [standing(counted, rate).retry_seconds for _ in range(3)] == [60] * 3
    assert [standing(counted, rate, cost=0).allowed for _ in range(2)] == [False] * 2


def test_a_wait_is_never_of_no_seconds():
    counted, rate = MemoryRates(Clock()), Rate(1000, 1)
    for _ in range(1000):
        standing(counted, rate)

    assert standing(counted, rate).retry_seconds == 1


def test_a_rate_may_change_from_call_to_call():
    counted = MemoryRates(Clock())
    standing(counted, Rate(1, 60))

    assert not standing(counted, Rate(1, 60)).allowed
    # A minute's worth is used of ten minutes' worth.
    assert standing(counted, Rate(10, 600)).remaining == 8


@given(
    count=st.integers(1, 50),
    seconds=st.integers(1, 600),
    pauses=st.lists(st.floats(0, 120), max_size=80),
)
def test_in_no_time_more_come_than_at_once_and_come_back(count, seconds, pauses):
    clock = Clock()
    counted, rate = MemoryRates(clock), Rate(count, seconds)
    allowed = []
    for pause in pauses:
        clock.now += pause
        each = standing(counted, rate)
        assert 0 <= each.remaining <= count - each.allowed
        assert (each.retry_seconds == 0) == (each.remaining > 0)
        if each.allowed:
            allowed.append(clock.now)

    for first, begin in enumerate(allowed):
        for length in (0.0, seconds / 2, seconds):
            within = bisect_left(allowed, begin + length + 1e-6) - first
            # A step is cut to whole microseconds.
            assert within <= count + (length + 2e-6) * 1e6 / rate.step + 1e-6


def test_who_waits_as_long_as_was_said_is_let_through():
    clock = Clock()
    counted, rate = MemoryRates(clock), Rate(7, 60)
    for _ in range(100):
        each = standing(counted, rate)
        if not each.allowed:
            clock.now += each.retry_seconds
            assert standing(counted, rate).allowed


@pytest.mark.parametrize("full", [True, False], ids=["in use", "whole again"])
def test_names_in_memory_have_an_end(full):
    clock = Clock()
    counted, rate = MemoryRates(clock), Rate(1, 60)
    for number in range(MAX_NAMES + 10):
        counted.ask(f"name {number}", rate, cost=1)
        if not full:
            clock.now += 61

    assert len(counted._full_at) <= MAX_NAMES
    # The newest is still there.
    assert full != counted.ask(f"name {MAX_NAMES + 9}", rate, cost=0)[0]
