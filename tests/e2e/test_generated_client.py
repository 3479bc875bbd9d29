"""A client made of the live document runs jobs; the log follows each of them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.receivers import running_receiver
from tests.support.recordings import RECORDINGS, silence, to_wav
from tests.support.stacks import RunStack
from tests.support.waiting import patient, wait_for

# A start of all parts, and some seconds of speech, on two busy cores.
pytestmark = pytest.mark.e2e

PARTS = "broker,migrate,web,media,callbacks,inference,dispatcher"
PACKAGE = "generated_whisperhub_client"
JOB_SECONDS = 90.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[RunStack]:
    folder = tmp_path_factory.mktemp("served")
    with RunStack(
        folder,
        parts=PARTS,
        WHISPERHUB_SLOTS="cpu=demo",
        WHISPERHUB_DEFAULT_MODEL="demo",
        WHISPERHUB_CPU_THREADS="1",
    ) as stack:
        stack.start()
        yield stack


class Generated:
    """What the generator made: the package, by the names inside it."""

    def __init__(self, key: str, url: str) -> None:
        self.client = self.part("client").AuthenticatedClient(base_url=url, token=key)
        self.models = self.part("models")

    @staticmethod
    def part(name: str) -> Any:
        return importlib.import_module(f"{PACKAGE}.{name}")

    def call(self, operation: str, **arguments: Any) -> Any:
        """The parsed answer of an operation; its tag is how its name begins."""
        tag = operation.partition("_")[0]
        module = self.part(f"api.{tag}.{operation}")
        return module.sync(client=self.client, **arguments)

    def status(self, operation: str, **arguments: Any) -> int:
        """The status of an operation's answer."""
        tag = operation.partition("_")[0]
        module = self.part(f"api.{tag}.{operation}")
        return int(
            module.sync_detailed(client=self.client, **arguments).status_code.value
        )

    def upload(self, content: bytes, **options: Any) -> Any:
        """A form with a recording."""
        file = self.part("types").File(
            payload=content, file_name="speech.wav", mime_type="audio/wav"
        )
        return self.models.TaskUploadRequest(file=file, **options)

    def finished(self, task_id: uuid.UUID) -> Any:
        """The task, once it has ended."""

        def look() -> Any:
            task = self.call("tasks_retrieve", public_id=task_id)
            return task if task.finished_at is not None else None

        return wait_for(look, seconds=JOB_SECONDS)


@pytest.fixture(scope="module")
def generated(stack, tmp_path_factory) -> Iterator[Generated]:
    folder = tmp_path_factory.mktemp("client")
    document = folder / "openapi.json"
    document.write_text(
        requests.get(
            f"{stack.url}/api/v1/schema/?format=json", timeout=patient(30)
        ).text
    )
    bin_folder = Path(sys.executable).parent
    made = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate"),
            *("--path", str(document), "--output-path", str(folder / PACKAGE)),
            *("--meta", "none", "--fail-on-warning"),
        ],
        # It tidies its work with ruff.
        env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    # Its news go to stdout, and say nothing of what it left out.
    assert "Unable" not in made.stdout
    assert "skip" not in made.stdout.lower()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        generated = Generated(stack.key, stack.url)
        with generated.client:
            yield generated
        for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
            monkeypatch.delitem(sys.modules, name)


def test_an_upload_becomes_text_and_subtitles(generated):
    models = generated.models
    sample = RECORDINGS["en"]
    made = generated.call(
        "tasks_create",
        idempotency_key=str(uuid.uuid4()),
        body=generated.upload(
            sample.path.read_bytes(),
            language="en",
            priority=models.TaskPriority.HIGH,
            platform="client",
            temperature=0,
            word_timestamps=True,
            compression_ratio_threshold=2.2,
            vad_parameters=models.VadParametersRequest(threshold=0.4),
        ),
    )
    assert isinstance(made, models.Task), made
    assert made.options["vad_parameters"] == {"threshold": 0.4}

    task = generated.finished(made.id)

    assert task.status == models.TaskStatus.COMPLETED, task.error
    assert task.progress.share == 1
    result = generated.call("tasks_result", public_id=made.id)
    assert isinstance(result, models.Result)
    assert result.segments[0].words[0].end > 0
    subtitles = generated.call(
        "tasks_subtitles",
        public_id=made.id,
        output_format=models.TasksSubtitlesOutputFormat.VTT,
    )
    assert subtitles.startswith("WEBVTT")
    page = generated.call(
        "tasks_list", platform="client", status=models.TasksListStatus.COMPLETED
    )
    assert [listed.id for listed in page.results] == [made.id]
    assert page.next_cursor is None
    assert generated.status("tasks_destroy", public_id=made.id) == 204
    gone = generated.call("tasks_retrieve", public_id=made.id)
    assert isinstance(gone, models.Problem)
    assert gone.code == "not_found"


def test_a_link_and_its_failure_are_typed(generated):
    models = generated.models
    with running_receiver() as server:
        link = f"http://127.0.0.1:{server.port}/gone.wav"
        made = generated.call(
            "tasks_create", body=models.TaskLinkRequest(file_url=link)
        )
        task = generated.finished(made.id)

    assert task.status == models.TaskStatus.FAILED
    assert task.error.code
    refused = generated.call("tasks_result", public_id=made.id)
    assert isinstance(refused, models.Problem)
    assert refused.status == 409


def test_errors_of_fields_are_typed(generated):
    refused = generated.call(
        "tasks_create", body=generated.upload(b"sound", model="no such model")
    )

    assert isinstance(refused, generated.models.Problem)
    assert refused.request_id


def test_models_and_callbacks_are_typed(generated):
    served = generated.call("models_list")
    assert [model.name for model in served.results] == ["demo"]
    with running_receiver() as receiver:
        sent = generated.call(
            "callbacks_send_test",
            body=generated.models.CallbackTestRequest(callback_url=receiver.url),
        )
        wait_for(lambda: receiver.received, seconds=30)
    shown = generated.call("callbacks_retrieve", public_id=sent.id)
    assert shown.links.self_.endswith(f"/callbacks/{sent.id}/")


@pytest.fixture
def session(stack) -> Iterator[requests.Session]:
    """Requests with the operator's key."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {stack.key}"
        yield session


def lines_about(stack: RunStack, *names: str) -> list[str]:
    """What the log of all processes says of tasks and callbacks."""
    log = stack.data_dir / "logs" / "whisperhub.log"
    return [
        line
        for line in log.read_text(encoding="utf-8").splitlines()
        if any(name in line for name in names)
    ]


def test_each_line_about_a_job_names_the_request_that_wanted_it(stack, session):
    tasks = f"{stack.url}/api/v1/tasks/"
    with running_receiver() as receiver:
        answer = session.post(
            tasks,
            headers={"X-Request-ID": "the-job"},
            files={"file": ("a.wav", to_wav(silence(1)))},
            data={"callback_url": receiver.url},
            timeout=patient(30),
        )
        task_id = answer.json()["id"]
        wait_for(lambda: receiver.received, seconds=JOB_SECONDS)
        (event_id,) = receiver.ids()
        told = wait_for(
            lambda: [
                line
                for line in lines_about(stack, task_id, event_id)
                if f"Callback {event_id}: attempt 1" in line
            ]
        )
        replayed = session.post(
            f"{stack.url}/api/v1/callbacks/{event_id}/replay/",
            headers={"X-Request-ID": "once-more"},
            timeout=patient(30),
        )
        assert replayed.status_code == 202, replayed.text
        wait_for(
            lambda: any(
                "[once-more]" in line and "attempt 2" in line
                for line in lines_about(stack, event_id)
            ),
            seconds=30,
        )

    assert answer.headers["X-Request-ID"] == "the-job"
    assert "[the-job]" in told[0]
    lines = lines_about(stack, task_id)
    for part in ("submission", "preparation", "execution"):
        assert any(f" transcription.services.{part} " in line for line in lines), part
    assert [line for line in lines if "[the-job]" not in line] == []
    # Web, media worker, its child, inference worker: not one process alone.
    assert len({line.split("[")[1] for line in lines + told}) >= 4


def test_a_task_that_starts_again_does_so_under_the_new_request(stack, session):
    with running_receiver() as server:
        answer = session.post(
            f"{stack.url}/api/v1/tasks/",
            headers={"X-Request-ID": "at-first"},
            json={"file_url": f"http://127.0.0.1:{server.port}/gone.wav"},
            timeout=patient(30),
        )
        address = answer.json()["links"]["self"]

        def has_failed() -> bool:
            return bool(
                session.get(address, timeout=patient(30)).json()["status"] == "failed"
            )

        wait_for(has_failed, seconds=JOB_SECONDS)
        again = session.post(
            f"{address}retry/", headers={"X-Request-ID": "anew"}, timeout=patient(30)
        )
        assert again.status_code == 200, again.text
        wait_for(has_failed, seconds=JOB_SECONDS)

    lines = lines_about(stack, answer.json()["id"])
    ends = [line for line in lines if " transcription.services.preparation " in line]
    assert ["[at-first]" in line for line in ends] == [True, False]
    assert "[anew]" in ends[1]
