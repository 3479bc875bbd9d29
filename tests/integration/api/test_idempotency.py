"""Idempotency-Key: a request that is sent again makes no second task."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from accounts.models import User
from tests.integration.api.conftest import TASKS, client_with
from tests.integration.databases import in_threads
from tests.support.factories import ApiKeyFactory, UserFactory
from tests.support.problems import read_problem
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient
from tests.support.web import running_web
from transcription import storage
from transcription.errors import KeyReusedError
from transcription.models import IdempotencyKey, TranscriptionTask
from transcription.services import idempotency, submission
from transcription.services.submission import TaskRequest, submit_once, submit_upload
from workers.dispatcher import Dispatcher

pytestmark = pytest.mark.django_db

AT_ONCE = 8


@pytest.fixture
def send(client, no_hints):
    """Send a recording with a key."""

    def post(key: str, content: bytes = b"sound", by: Any = client, **fields: Any):
        upload = SimpleUploadedFile(fields.pop("file_name", "speech.wav"), content)
        return by.post(
            TASKS,
            {"file": upload, **fields},
            format="multipart",
            headers={"Idempotency-Key": key},
        )

    return post


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def make_older(seconds: float) -> None:
    IdempotencyKey.objects.update(
        created_at=timezone.now() - timedelta(seconds=seconds)
    )


# --- The same request ----------------------------------------------------------------


def test_the_same_request_gets_the_first_answer_again(send, media_root):
    first = send("a key", language="en")

    again = send("a key", language="en")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    task = TranscriptionTask.objects.get()
    assert files_below(media_root) == [TaskFiles(task.public_id).original.path]


def test_the_answer_shows_the_task_as_it_stands_now(send):
    send("a key")
    TranscriptionTask.objects.update(status="queued")

    assert send("a key").json()["status"] == "queued"


def test_without_a_key_two_requests_are_two_tasks(submit):
    submit()
    submit()

    assert TranscriptionTask.objects.count() == 2
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("other", ["another", "A Key", "a key "])
def test_keys_are_told_apart_by_every_character(send, other, owner, make_upload):
    """By the service: a server cuts blanks off a header before we see it."""
    for key in ("a key", other):
        submit_once(owner, make_upload(b"sound"), TaskRequest(), key=key)

    assert TranscriptionTask.objects.count() == 2


def test_the_same_key_of_another_owner_is_another_key(send):
    stranger = client_with(ApiKeyFactory(owner=UserFactory()).secret)

    first, second = send("a key"), send("a key", by=stranger)

    assert second.status_code == 201
    assert first.json()["id"] != second.json()["id"]


def test_a_request_that_was_refused_leaves_no_key(send):
    assert send("a key", language="xx").status_code == 400

    assert send("a key", language="en").status_code == 201


# --- Another request -----------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"content": b"other"},
        {"language": "es"},
        {"priority": "high"},
        {"beam_size": "1"},
        {"platform": "web"},
        {"callback_url": "https://example.org/ended"},
        {"task_type": "translate"},
        {"file_name": "other.wav"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_request_with_the_key_is_refused(send, changes, media_root):
    send("a key")

    read_problem(send("a key", **changes), 409, "idempotency_key_reused")

    task = TranscriptionTask.objects.get()
    assert files_below(media_root) == [TaskFiles(task.public_id).original.path]


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "a\tb", "a\x7fb"])
def test_a_key_that_is_none_is_refused(send, key):
    read_problem(send(key), 400, "invalid_idempotency_key")

    assert not TranscriptionTask.objects.exists()


@pytest.mark.parametrize("key", ["x", "x" * 255, "~ !"])
def test_every_printable_key_is_taken(send, key):
    assert send(key).status_code == 201


# --- Afterwards ----------------------------------------------------------------------


def test_the_task_of_a_key_is_not_made_again_after_its_deletion(send, client):
    address = send("a key").json()["links"]["self"]
    assert client.delete(address).status_code == 204

    read_problem(send("a key"), 410, "idempotent_task_deleted")

    assert not TranscriptionTask.objects.exists()


def test_a_key_is_forgotten_after_its_time(send, settings):
    settings.IDEMPOTENCY_SECONDS = 60
    send("a key")
    make_older(61)

    answer = send("a key", language="es")

    assert answer.status_code == 201
    assert "Idempotency-Replayed" not in answer.headers
    assert TranscriptionTask.objects.count() == 2
    assert send("a key", language="es").json()["id"] == answer.json()["id"]


def test_the_dispatcher_deletes_old_keys_in_batches(send, settings, monkeypatch):
    monkeypatch.setattr(idempotency, "BATCH", 2)
    settings.IDEMPOTENCY_SECONDS = 60
    for number in range(5):
        send(f"key {number}")
    make_older(61)
    send("young")

    Dispatcher().tick()

    assert IdempotencyKey.objects.count() == 1
    assert TranscriptionTask.objects.count() == 6


# --- At the same time ----------------------------------------------------------------


@pytest.fixture
def all_past_the_first_look(monkeypatch):
    """Nobody stores a row before everybody has found the key to be new."""
    gate = threading.Barrier(AT_ONCE)
    keep_upload = storage.keep_upload

    def keep(*arguments: Any) -> int:
        gate.wait(patient(30))
        return keep_upload(*arguments)

    monkeypatch.setattr(submission, "keep_upload", keep)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("all_past_the_first_look")
def test_of_requests_that_race_one_makes_the_task(no_hints, make_upload, media_root):
    owner = UserFactory()
    uploads = [make_upload(b"sound") for _ in range(AT_ONCE)]

    answers = in_threads(
        [
            partial(submit_once, owner, upload, TaskRequest(), key="one")
            for upload in uploads
        ]
    )

    assert Counter(answer.replayed for answer in answers) == {False: 1, True: 7}
    task = TranscriptionTask.objects.get()
    assert {answer.task.pk for answer in answers} == {task.pk}
    assert files_below(media_root) == [TaskFiles(task.public_id).original.path]
    assert no_hints == [task.pk]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("all_past_the_first_look")
def test_of_different_requests_that_race_one_wins(no_hints, make_upload, media_root):
    owner = UserFactory()
    uploads = [make_upload(bytes([number])) for number in range(AT_ONCE)]

    def submit(upload: Any) -> str:
        try:
            submit_once(owner, upload, TaskRequest(), key="one")
        except KeyReusedError:
            return "refused"
        return "made"

    answers = in_threads([partial(submit, upload) for upload in uploads])

    assert Counter(answers) == {"made": 1, "refused": AT_ONCE - 1}
    assert TranscriptionTask.objects.count() == 1
    assert len(files_below(media_root)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_key_whose_first_request_fails_is_free_for_the_next(
    no_hints, make_upload, monkeypatch
):
    """The second waits for the first one's transaction, which then never happened."""
    owner = UserFactory()
    noted, waiting = threading.Event(), threading.Event()
    note = idempotency.note

    def fail_first(asked: Any, task: TranscriptionTask) -> None:
        if noted.is_set():
            waiting.set()
            return note(asked, task)
        note(asked, task)
        noted.set()
        # On SQLite the other cannot even begin before this transaction ends.
        waiting.wait(0.5)
        raise RuntimeError("the server lost its power")

    monkeypatch.setattr(idempotency, "note", fail_first)

    def first() -> None:
        with pytest.raises(RuntimeError):
            submit_once(owner, make_upload(b"sound"), TaskRequest(), key="one")

    def second() -> Any:
        noted.wait(patient(10))
        return submit_once(owner, make_upload(b"sound"), TaskRequest(), key="one")

    _, answer = in_threads([first, second])

    assert not answer.replayed
    assert TranscriptionTask.objects.get() == answer.task


@pytest.mark.django_db(transaction=True)
def test_copies_of_a_request_to_a_running_server_make_one_task(media_root):
    secret = ApiKeyFactory().secret
    recording = b"RIFF" + b"sound" * 200_000
    gate = threading.Barrier(AT_ONCE)

    with running_web(media_root) as address:

        def post() -> requests.Response:
            gate.wait(patient(30))
            return requests.post(
                f"{address}{TASKS}",
                files={"file": ("speech.wav", recording)},
                headers={
                    "Authorization": f"Bearer {secret}",
                    "Idempotency-Key": "5e2f0c1a",
                },
                timeout=patient(60),
            )

        answers = in_threads([post] * AT_ONCE)

    assert {answer.status_code for answer in answers} == {201}, answers[0].text
    task = TranscriptionTask.objects.get()
    assert {answer.json()["id"] for answer in answers} == {str(task.public_id)}
    replayed = [answer.headers.get("Idempotency-Replayed") for answer in answers]
    assert Counter(replayed) == {None: 1, "true": AT_ONCE - 1}
    original = TaskFiles(task.public_id).original.path
    assert files_below(media_root) == [original]
    assert original.read_bytes() == recording


# --- The digest ----------------------------------------------------------------------


def test_a_digest_that_was_taken_as_the_bytes_came_in_counts(
    make_upload, no_hints, monkeypatch
):
    """Whoever reads gigabytes a second time makes a client wait."""
    monkeypatch.setattr(
        "django.core.files.uploadedfile.UploadedFile.chunks",
        lambda *args: pytest.fail("The upload was read again."),
    )
    upload = make_upload(b"sound")
    upload.sha256 = hashlib.sha256(b"sound").hexdigest()

    assert submit_once(UserFactory(), upload, TaskRequest(), key="one").task


def test_an_upload_of_another_handler_is_digested_too(make_upload, no_hints):
    owner: User = UserFactory()
    submit_once(owner, make_upload(b"sound"), TaskRequest(), key="one")

    with pytest.raises(KeyReusedError):
        submit_once(owner, make_upload(b"other"), TaskRequest(), key="one")


def test_a_task_without_a_key_takes_none(make_upload, no_hints):
    submit_upload(UserFactory(), make_upload(b"sound"), TaskRequest())

    assert not IdempotencyKey.objects.exists()
