"""A short random run, and a small flood, of what `make chaos` does at length."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import patient

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
# A run whose deeds are of many kinds and whose load is dense.
SEED = 5
MINUTES = 0.6


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(280),
        check=False,
    )


def test_nothing_is_lost_or_doubled_in_a_short_run(tmp_path):
    ended = chaos(
        *("--minutes", str(MINUTES), "--seed", str(SEED), "--out", str(tmp_path))
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    last = ended.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"chaos: accepted=\d+ completed=\d+ failed=\d+ cancelled=\d+ "
        r"lost=0 doubled=0 callbacks_missing=0",
        last,
    )


def test_a_flood_without_a_broker_is_accepted_at_once_and_done_later(tmp_path):
    ended = chaos("--flood", "60", "--out", str(tmp_path))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "accepted=60 completed=60" in ended.stdout
