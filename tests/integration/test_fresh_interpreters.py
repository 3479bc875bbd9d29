"""What holds in a new interpreter, with an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_python(program: str, **variables: str) -> str:
    """What a program prints that knows these variables and the path only."""
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout


def test_settings_read_the_file_of_variables(tmp_path):
    file = tmp_path / "mine.env"
    file.write_text("WHISPERHUB_PORT=8765\nWHISPERHUB_HOST=127.0.0.9\n")

    said = run_python(
        "from whisperhub import settings as s; print(s.PORT, s.HOST)",
        WHISPERHUB_ENV_FILE=str(file),
        WHISPERHUB_DATA_DIR=str(tmp_path / "var"),
        WHISPERHUB_HOST="127.0.0.1",
    )

    assert said.split() == ["8765", "127.0.0.1"]


def test_the_runner_of_the_tests_needs_no_settings():
    assert run_python("import tools.test_matrix; print('imported')") == "imported\n"


@pytest.mark.parametrize("name", ["api", "claims", "limits"])
def test_a_benchmark_that_is_a_program_too_begins_without_apps(name, tmp_path):
    said = run_python(
        f"import benchmarks.{name}; print('imported')",
        DJANGO_SETTINGS_MODULE="whisperhub.settings",
        WHISPERHUB_DATA_DIR=str(tmp_path / "var"),
    )

    assert said == "imported\n"


def test_a_worker_does_not_load_the_api_for_checks_at_its_start(tmp_path):
    said = run_python(
        "import sys\n"
        "from celery.fixups.django import DjangoWorkerFixup\n"
        "from whisperhub.celery import app\n"
        "DjangoWorkerFixup(app).validate_models()\n"
        "print('transcription.api.views' in sys.modules)",
        WHISPERHUB_DATA_DIR=str(tmp_path / "var"),
    )

    assert said == "False\n"
