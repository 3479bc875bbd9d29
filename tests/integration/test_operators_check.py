"""`manage.py check` as a process, with the environment of an operator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.processes import operators_environment

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104
ROOT = Path(__file__).resolve().parents[2]


def run_check(data_dir, *arguments, **variables):
    """`manage.py check` as an operator runs it; a warning makes it fail."""
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "WARNING", *arguments],
        env=operators_environment(
            **{
                "WHISPERHUB_DATA_DIR": str(data_dir),
                "WHISPERHUB_ENV_FILE": os.devnull,
                **variables,
            }
        ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_service_without_any_variable_passes_the_check(tmp_path):
    checked = run_check(tmp_path)

    assert checked.returncode == 0, checked.stderr


def test_a_service_for_production_passes_the_check_for_deployment(tmp_path):
    checked = run_check(
        tmp_path,
        "--deploy",
        WHISPERHUB_HOST=EVERY_ADDRESS,
        WHISPERHUB_ALLOWED_HOSTS="speech.example.org",
        WHISPERHUB_TRUSTED_PROXIES="10.0.0.7",
        WHISPERHUB_HTTPS="true",
        WHISPERHUB_BROKER_URL="rediss://:secret@queue.example.org:6379/0",
        WHISPERHUB_DATABASE_URL="postgresql://u:p@db.example.org/name?sslmode=require",
        WHISPERHUB_OUTGOING_ALLOWED="hooks.internal:8080",
    )

    assert checked.returncode == 0, checked.stderr


def test_the_variables_of_an_unsafe_service_are_warned_of_and_can_be_silenced(tmp_path):
    env_file = tmp_path / "env"
    env_file.write_text("WHISPERHUB_SECRET_KEY=short\n", encoding="utf-8")
    env_file.chmod(0o644)

    checked = run_check(
        tmp_path / "data",
        WHISPERHUB_ENV_FILE=str(env_file),
        WHISPERHUB_HOST=EVERY_ADDRESS,
        WHISPERHUB_DEBUG="true",
        WHISPERHUB_ALLOWED_HOSTS="*",
        WHISPERHUB_TRUSTED_PROXIES="0.0.0.0/0",
        WHISPERHUB_BROKER_URL="redis://queue.example.org:6379/0",
        WHISPERHUB_DATABASE_URL="postgresql://u@db.example.org/name",
        WHISPERHUB_OUTGOING_ALLOWED="10.0.0.0/8",
        WHISPERHUB_LOGIN_ATTEMPTS="0",
        WHISPERHUB_LOGIN_ADDRESS_ATTEMPTS="0",
        WHISPERHUB_DECODER_MEMORY="0",
        WHISPERHUB_SILENCED_CHECKS="whisperhub.W006, whisperhub.W008",
    )

    assert checked.returncode == 1
    said = set(re.findall(r"\(whisperhub\.(W\d+)\)", checked.stderr))
    # The first one needs open mode, which refuses to start with such a host.
    assert said == {f"W{number:03}" for number in range(2, 15)} - {"W006", "W008"}
