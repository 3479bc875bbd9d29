"""The API's process with real workers beside it: media, inference, dispatcher."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_results.models import TaskResult
from rest_framework.test import APIClient

from tests.support.factories import ApiKeyFactory, SlotFactory
from tests.support.fleet import STOP_SECONDS, Fleet
from tests.support.media_files import make_tone, write_wav
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient, wait_for
from transcription.accuracy import word_error_rate
from transcription.engines import demo_model
from transcription.models import TranscriptionTask, WorkerSlot
from transcription.services import slots

pytestmark = pytest.mark.django_db(transaction=True)

SAMPLE = demo_model.samples()[0]
SECONDS = 60.0


@pytest.fixture
def client(transactional_db: None) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {ApiKeyFactory().secret}")
    return client


@pytest.fixture
def submit(client: APIClient) -> Callable[..., str]:
    """Send a recording and return the task's address."""

    def send(content: bytes | None = None, **fields: Any) -> str:
        upload = SimpleUploadedFile("a.wav", content or SAMPLE.path.read_bytes())
        data = {"file": upload, **fields}
        response = client.post("/api/v1/tasks/", data, format="multipart")
        assert response.status_code == 201, response.content
        return str(response.json()["links"]["self"])

    return send


@pytest.fixture
def wait(client: APIClient, fleet: Fleet) -> Callable[..., Any]:
    """Wait until a task is in a state, and return it as clients see it."""

    def wait_until(address: str, status: str, **wanted: Any) -> Any:
        def look() -> Any:
            body = client.get(address).json()
            return body if body["status"] == status else None

        def state() -> str:
            return f"{status}, not {client.get(address).json()},{fleet.said()}"

        return wait_for(look, seconds=SECONDS, named=state)

    return wait_until


@pytest.fixture
def short(tmp_path) -> bytes:
    """A second without speech."""
    return write_wav(tmp_path / "a.wav", make_tone(1.0)).read_bytes()


def row(address: str) -> TranscriptionTask:
    return TranscriptionTask.objects.get(public_id=address.rstrip("/").split("/")[-1])


def test_an_upload_comes_back_as_text(fleet, submit, wait, client):
    fleet.ensure_inference()

    address = submit(word_timestamps="true")
    body = wait(address, "completed")

    result = client.get(body["links"]["result"]).json()
    assert word_error_rate(SAMPLE.texts["en"], result["text"]) < 0.3
    assert all(part["words"] for part in result["segments"])
    assert [notice["message"] for notice in result["notices"]] == [demo_model.NOTICE]
    assert body["attempts"] == 1
    files = TaskFiles(row(address).public_id)
    wait_for(lambda: not files.exist())
    started = TaskResult.objects.filter(task_id__startswith=body["id"])
    wait_for(lambda: started.filter(status="SUCCESS").count() == 2)
    assert {item.task_id[36:] for item in started} == {"-p1", "-a1"}


@pytest.mark.one_database
def test_a_file_that_is_no_media_fails_with_its_code(fleet, submit, wait):
    address = submit(b"This is no sound.")

    assert wait(address, "failed")["error"]["code"] == "invalid_media"


def test_jobs_of_a_killed_worker_are_done_by_the_next(fleet, submit, wait):
    fleet.ensure_inference()
    with fleet.held():
        address = submit()
        wait(address, "processing")
        fleet.inference.kill()

        # Nobody tells that it died: the dispatcher finds the lease expired.
        wait(address, "queued")
    fleet.ensure_inference()

    wait(address, "completed")
    task = row(address)
    assert (task.attempts, task.losses) == (1, 1)


def test_a_restarted_worker_frees_its_jobs_at_once(fleet, submit, wait, settings):
    fleet.ensure_inference()
    with fleet.held():
        address = submit()
        wait(address, "processing")
        fleet.inference.kill()
        # So long that the dispatcher has no part in this.
        TranscriptionTask.objects.update(
            lease_expires_at=timezone.now() + timedelta(hours=1)
        )
    fleet.ensure_inference()

    wait(address, "completed")
    task = row(address)
    assert (task.attempts, task.losses) == (1, 1)


def test_a_job_that_is_deleted_while_it_runs_frees_its_place(
    fleet, submit, wait, client
):
    fleet.ensure_inference()
    with fleet.held():
        address = submit()
        wait(address, "processing")
        files = TaskFiles(row(address).public_id)

        assert client.delete(address).status_code == 204

        assert not files.exist()
        following = submit()
        # The only place is taken until the first job has stopped.
        wait(following, "processing")
    wait(following, "completed")
    assert client.get(address).status_code == 404


def test_urgent_jobs_start_first(fleet, submit, wait, short):
    fleet.ensure_no_inference()
    addresses = {
        priority: submit(short, priority=priority)
        for priority in ("low", "normal", "high")
    }
    for address in addresses.values():
        wait(address, "queued")

    fleet.ensure_inference()
    for address in addresses.values():
        wait(address, "completed")

    order = TranscriptionTask.objects.order_by("started_at")
    assert list(order.values_list("priority", flat=True)) == ["high", "normal", "low"]


@pytest.mark.one_database
def test_a_worker_that_is_told_to_stop_finishes_its_job(fleet, submit, wait):
    fleet.ensure_inference()
    with fleet.held():
        address = submit()
        wait(address, "processing")
        fleet.inference.terminate()
        wait_for(lambda: "shutdown" in fleet.inference.said().lower())
        assert fleet.inference.is_running()

    wait(address, "completed")
    assert row(address).attempts == 1
    assert fleet.inference.process.wait(STOP_SECONDS) == 0


# --- Slots that cannot start ---------------------------------------------------------


@pytest.mark.one_database
def test_a_slot_whose_model_is_broken_says_so_and_ends(fleet, tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()

    worker = fleet.slot(f"broken=cpu={folder}", name="broken")

    assert worker.process.wait(patient(SECONDS)) == 3, worker.said()
    slot = WorkerSlot.objects.get(name=slots.slot_name("broken"))
    assert slot.state == WorkerSlot.State.FAILED
    assert re.fullmatch(r"[^\n]+\.", slot.message)
    assert "my-model" in slot.message
    assert str(tmp_path) not in slot.message


def test_a_second_process_of_a_slot_does_not_start(fleet):
    fleet.ensure_no_inference()
    other = WorkerSlot.objects.count()
    SlotFactory(
        name=slots.slot_name("twice"),
        host="elsewhere",
        last_seen_at=timezone.now() + timedelta(minutes=5),
    )

    worker = fleet.slot("twice=cpu=demo", name="twice")

    assert worker.process.wait(patient(SECONDS)) == 4, worker.said()
    assert "Give this one another name" in worker.said()
    assert WorkerSlot.objects.count() == other + 1


@pytest.mark.one_database
def test_a_malformed_slot_is_refused_with_the_form():
    with pytest.raises(CommandError, match=re.escape("[name=]device=model")):
        call_command("runslot", "nonsense")
