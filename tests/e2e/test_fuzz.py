"""The short form of `make fuzz`: a whole service under requests of all kinds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import operators_environment
from tests.support.stacks import ROOT

# The same in each run, so that a change that breaks it is the one that is tested;
# `make fuzz` draws others.
SEED = 20261122
CASES = 3000

pytestmark = pytest.mark.e2e


def test_no_request_breaks_the_service_or_its_document(tmp_path):
    run = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz", "--cases", str(CASES)),
            *("--seed", str(SEED), "--out", str(tmp_path)),
        ],
        cwd=ROOT,
        env=operators_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )

    assert run.returncode == 0, run.stdout[-20_000:]
    last = run.stdout.splitlines()[-1]
    told = dict(word.split("=") for word in last.removeprefix("fuzz: ").split())
    assert int(told["cases"]) >= CASES
    assert int(told["operations"]) > 20
    assert (tmp_path / f"{SEED}.txt").exists()
