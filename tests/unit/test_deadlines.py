"""A machine that is busy with something else fails no test by being slow."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from tests.support.waiting import BUSY_FACTOR, wait_for

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_of_all_tests_has_no_deadline():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]

    assert "session_timeout" not in options
    for path in [ROOT / "Makefile", *ROOT.glob(".ci/*")]:
        assert "session-timeout" not in path.read_text(), path


def test_waiting_lasts_several_times_as_long_as_on_a_quiet_machine():
    seconds = 0.1
    began = time.monotonic()

    wait_for(lambda: time.monotonic() - began > 2 * seconds, seconds=seconds)


def test_waiting_ends():
    began = time.monotonic()

    with pytest.raises(AssertionError, match=r"A miracle did not come within 0\.05 s"):
        wait_for(lambda: False, seconds=0.05 / BUSY_FACTOR, named="A miracle")

    assert time.monotonic() - began >= 0.05
