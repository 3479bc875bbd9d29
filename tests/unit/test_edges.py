"""At an edge an error is logged and ends; what it surrounds is named once."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError

from whisperhub import edges
from whisperhub.edges import Edge, guarded


def fail(what: str = "a step", error: type[Exception] = ValueError) -> None:
    with guarded(Edge.TICK_STEP, what, about="row 7"):
        raise error("no")


def test_an_error_ends_at_an_edge_and_is_told():
    before = edges.failure_count()

    with guarded(Edge.BEAT) as passage:
        raise ValueError("no")

    assert isinstance(passage.error, ValueError)
    assert edges.failure_count() == before + 1


def test_what_succeeds_is_no_failure():
    before = edges.failure_count()

    with guarded(Edge.BEAT) as passage:
        pass

    assert passage.error is None
    assert edges.failure_count() == before


def test_an_error_is_logged_with_the_edge_and_its_traceback(caplog):
    fail()

    (record,) = caplog.records
    said = "The dispatcher step a step failed (row 7): no"
    assert (record.levelno, record.getMessage()) == (logging.ERROR, said)
    assert record.exc_info


def test_a_database_that_is_away_is_logged_on_one_line(caplog, monkeypatch):
    monkeypatch.setattr(edges, "_close_connections", lambda: None)

    fail(error=OperationalError)

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert not record.exc_info


def test_what_fails_at_each_tick_is_logged_once_a_minute(caplog, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    for _ in range(30):
        fail()
        now += 2
    fail()

    first, second = caplog.messages
    assert first.startswith("The dispatcher step a step failed (row 7)")
    assert "29 times more since it was last logged" in second


def test_another_step_and_another_error_are_logged_at_once(caplog):
    fail()
    fail("another")
    fail(error=KeyError)

    assert len(caplog.messages) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_process_passes(error):
    with pytest.raises(error), guarded(Edge.BEAT):
        raise error


def test_an_error_that_is_not_the_edges_passes(caplog):
    def is_key_error(error: Exception) -> bool:
        return isinstance(error, KeyError)

    with pytest.raises(KeyError), guarded(Edge.ITEM, passes=is_key_error):
        raise KeyError

    assert not caplog.messages
