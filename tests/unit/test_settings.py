"""Settings that are checked when a process starts, not when a request needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    environment = {
        **{key: text for key, text in os.environ.items() if "WHISPERHUB" not in key},
        "WHISPERHUB_DATA_DIR": str(tmp_path),
        f"WHISPERHUB_{name}": value,
    }

    ended = subprocess.run(
        [sys.executable, "-c", "import whisperhub.settings"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode != 0
    last = ended.stderr.strip().splitlines()[-1]
    assert f"WHISPERHUB_{name}: " in last
    assert told in last
