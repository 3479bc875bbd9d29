"""Settings that are checked when a process starts, not when a request needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import patient

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAX_UPLOAD_SIZE", "huge", "is no size"),
        ("LEASE_SECONDS", "soon", "is not a number"),
        ("ENGINE", "whisper.cpp", "is none of"),
        ("OUTGOING_ALLOWED", "example.org", "neither a network nor a host"),
        ("OUTGOING_PORTS", "http", "is no port"),
        ("OUTGOING_AUTHORITIES", "nowhere.pem", "there is no file"),
    ],
)
def test_a_bad_value_stops_the_start_with_its_name(tmp_path, name, value, told):
    last = last_words(tmp_path, **{name: value})

    assert f"WHISPERHUB_{name}: " in last
    assert told in last


@pytest.mark.parametrize(
    ("name", "value"),
    [("HOST", "192.0.2.7"), ("ALLOWED_HOSTS", "localhost,speech.example.org")],
)
def test_open_mode_that_others_could_reach_stops_the_start(tmp_path, name, value):
    last = last_words(tmp_path, OPEN_MODE="true", **{name: value})

    assert "WHISPERHUB_OPEN_MODE: " in last
    assert f"WHISPERHUB_{name}" in last
    assert value.rpartition(",")[2] in last


def last_words(data_dir: Path, **variables: str) -> str:
    """The last line that a process says which does not start with these variables."""
    environment = {
        **{key: text for key, text in os.environ.items() if "WHISPERHUB" not in key},
        "WHISPERHUB_DATA_DIR": str(data_dir),
        **{f"WHISPERHUB_{name}": value for name, value in variables.items()},
    }
    ended = subprocess.run(
        [sys.executable, "-c", "import whisperhub.settings"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    assert ended.returncode != 0
    return ended.stderr.strip().splitlines()[-1]
