"""Processes that start: what stops them, what they load, and several at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import patient
from whisperhub.secrets import read_or_create

ROOT = Path(__file__).resolve().parents[2]

LOAD_WITHOUT = """
import sys
from pathlib import Path

sys.modules[sys.argv[1]] = None
from transcription.engines.plan import parse_slot
from transcription.engines.registry import create_engine
from transcription.errors import ModelUnavailableError

slot = parse_slot("cpu=demo", 0, "openai-whisper")
engine = create_engine(slot, model_dir=Path(sys.argv[2]), cpu_threads=1)
assert "torch" not in sys.modules or sys.modules["torch"] is None
try:
    engine.load()
except ModelUnavailableError as error:
    print(error.message)
"""
PRINT_SECRET = """
import sys
from pathlib import Path
from whisperhub.secrets import read_or_create
sys.stdin.readline()
print(read_or_create(Path(sys.argv[1])))
"""
# Building the OpenAPI document needs the plumbing, and only the web process the API.
WITHOUT_API = """
import sys, django
django.setup()
import workers.dispatcher, transcription.tasks
from django.utils import timezone
from transcription.documents import encoding, events
from transcription.models import Callback, TranscriptionTask
now = timezone.now()
task = TranscriptionTask(status="failed", created_at=now, finished_at=now)
callback = Callback(task=task, event="task.failed", created_at=now)
assert b"/api/v1/tasks/" in encoding.json_bytes(
    events.event_document(callback, task, None)
)
loaded = [
    name
    for name in sys.modules
    if name == "drf_spectacular.plumbing" or name.startswith("transcription.api")
]
print(loaded)
"""
# Settings read the table of file types.
OF_INFERENCE = """
import sys, django
django.setup()
import transcription.engines.registry, transcription.services.execution
print(sorted(name for name in sys.modules if name.startswith("transcription.media.")))
"""
# As Celery loads its tasks; faster-whisper, which imports PyAV, comes with the model.
OF_WORKERS = """
import sys, django
django.setup()
import workers.inference, workers.launcher, workers.dispatcher
workers.inference.app.loader.import_default_modules()
print("transcription.services.preparation" in sys.modules, "av" in sys.modules)
"""


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAX_UPLOAD_SIZE", "huge", "is no size"),
        ("LEASE_SECONDS", "soon", "is not a number"),
        ("ENGINE", "whisper.cpp", "is none of"),
        ("ALLOWED_TYPES", "mp3,exe", "'exe' is no file extension that is accepted"),
        ("ALLOWED_TYPES", "audio,m3u8", "'m3u8' cannot be allowed. It is a playlist"),
        ("ALLOWED_TYPES", ",", "names no type"),
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


def start(url: str, program: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "whisperhub.settings",
        "WHISPERHUB_DATABASE_URL": url,
        "WHISPERHUB_DATA_DIR": str(tmp_path),
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_bad_url_stops_the_start_with_the_variables_name(tmp_path):
    ended = start("oracle://db/w", "import whisperhub.settings", tmp_path)

    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1] == (
        "django.core.exceptions.ImproperlyConfigured: WHISPERHUB_DATABASE_URL: "
        "'oracle' is none of sqlite, postgresql, postgres, mysql, mariadb."
    )


@pytest.mark.parametrize(
    ("url", "loaded"), [("", False), ("postgres://d/w", False), ("mysql://d/w", True)]
)
def test_pymysql_stands_in_for_mysqldb_only_where_it_is_chosen(url, loaded, tmp_path):
    program = (
        "import sys, django; django.setup(); print('MySQLdb' in sys.modules);"
        "from django.db import connection; connection.ops"
    )

    ended = start(url, program, tmp_path)

    assert ended.stdout.strip() == str(loaded), ended.stderr


def test_processes_that_start_at_once_agree(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_SECRET, str(tmp_path / "key")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    # They wait for this line, so that their reading and making overlaps.
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()

    printed = {
        process.communicate(timeout=patient(60))[0].strip() for process in processes
    }

    assert printed == {read_or_create(tmp_path / "key")}


@pytest.mark.parametrize("missing", ["torch", "whisper"])
def test_a_missing_library_is_told_with_how_to_install_it(missing, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOAD_WITHOUT, missing, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 0, done.stderr
    assert "requirements/openai-whisper.txt" in done.stdout
    assert "make run ENGINE=openai-whisper" in done.stdout


def test_workers_load_neither_the_api_nor_what_builds_its_document(tmp_path):
    ended = start("", WITHOUT_API, tmp_path)

    assert ended.stdout.strip() == "[]", ended.stderr


def test_inference_loads_nothing_that_opens_media(tmp_path):
    ended = start("", OF_INFERENCE, tmp_path)

    assert ended.stdout.strip() == "['transcription.media.types']", ended.stderr


def test_no_worker_loads_a_decoder(tmp_path):
    ended = start("", OF_WORKERS, tmp_path)

    assert ended.stdout.strip() == "True False", ended.stderr
