"""Rates in a real Redis, and without it."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from tests.integration.databases import in_threads
from tests.support.waiting import patient, wait_for
from whisperhub import rates
from whisperhub.rates import MemoryRates, Rate, Standing
from whisperhub.redis import COUNTING, redis_client
from workers.broker import running_broker

MINUTE = Rate(3, 60)


@pytest.fixture
def steady(broker, monkeypatch):
    """A broker in whose place this process may not answer."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("Redis was not asked.")

    monkeypatch.setattr(rates._memory, "ask", refuse)
    return broker


def test_redis_counts_as_memory_does(steady):
    chosen = random.Random(1)
    memory = MemoryRates(time.monotonic)
    for number in range(200):
        rate = Rate(chosen.choice([1, 3, 50]), chosen.choice([1, 60, 600]))
        name, cost = f"{number % 5}:{rate.count}:{rate.seconds}", chosen.choice([0, 1])

        found = rates._ask(name, rate, cost=cost)
        expected = memory.ask(name, rate, cost=cost)

        # The clocks differ by what a request takes.
        assert found[1] == pytest.approx(expected[1], abs=200_000)
        if rate.step > 400_000:
            assert found[0] == expected[0]


def test_a_rate_is_one_round_trip_and_leaves_with_its_time(steady):
    rates.take("x", MINUTE)
    steady.client.config_resetstat()

    rates.take("x", MINUTE)

    commands = steady.client.info("commandstats")
    # What the script does inside of Redis is counted, too.
    assert {name: each["calls"] for name, each in commands.items()} == {
        "cmdstat_evalsha": 1,
        "cmdstat_time": 1,
        "cmdstat_get": 1,
        "cmdstat_set": 1,
    } | {name: 1 for name in commands if "config" in name or "info" in name}
    assert 20_000 < steady.client.pttl("whisperhub:rate:x") <= 40_000


def test_many_at_once_get_no_more_than_there_are(steady):
    rate = Rate(10, 600)

    taken: list[Standing] = in_threads([lambda: rates.take("x", rate)] * 30)

    assert sum(each.allowed for each in taken) == 10
    assert {each.remaining for each in taken if each.allowed} == set(range(10))


def test_a_look_changes_nothing_and_forgetting_everything(steady):
    rates.take("x", MINUTE)

    assert [rates.look("x", MINUTE).remaining for _ in range(2)] == [2, 2]
    rates.forget("x")
    assert rates.look("x", MINUTE).remaining == 3
    assert not steady.client.keys("whisperhub:rate:*")


def test_a_redis_that_has_forgotten_the_script_is_told_it_again(steady):
    rates.take("x", MINUTE)
    steady.client.script_flush()

    assert rates.take("x", MINUTE).remaining == 1


def test_without_redis_this_process_counts_and_asks_no_more(caplog):
    began = time.perf_counter()

    taken = [rates.take("x", MINUTE).allowed for _ in range(5)]

    assert taken == [True, True, True, False, False]
    assert len(caplog.records) == 1
    assert time.perf_counter() - began < patient(2)
    rates.forget("x")
    assert rates.look("x", MINUTE).remaining == 3


def test_a_redis_that_is_silent_holds_nobody_up(tmp_path, monkeypatch, point_at_broker):
    with running_broker(tmp_path / "broker") as url:
        point_at_broker(url)
        rates.take("x", MINUTE)
        client: Any = redis_client(COUNTING)
        # It takes commands, and answers none.
        client.execute_command("CLIENT", "PAUSE", 20_000, "ALL")
        began = time.perf_counter()

        taken = [rates.take("x", MINUTE).allowed for _ in range(4)]

        assert time.perf_counter() - began < patient(2 * COUNTING.timeout_seconds + 1)
        assert taken == [True, True, True, False]


def test_redis_counts_again_once_it_is_back(broker, monkeypatch):
    monkeypatch.setattr("whisperhub.redis.QUIET_SECONDS", 0.05)
    rates._breaker.trip(OSError("away"))
    rates.take("x", MINUTE)

    wait_for(lambda: not rates._breaker.is_open(), seconds=5)
    rates.take("x", MINUTE)

    assert broker.client.exists("whisperhub:rate:x")
