"""Quotas and the highest priority, as clients meet them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts import usage
from accounts.keys import rotate_key
from tests.integration.api.conftest import TASKS, client_with
from tests.integration.api.test_reading import address
from tests.integration.api.test_steering import with_media
from tests.support.factories import ApiKeyFactory, TaskFactory
from tests.support.problems import read_problem
from transcription.models import TranscriptionTask

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_hints")]


@pytest.fixture
def limited(owner):
    """Make a key with these limits; returns its client."""

    def make(**limits: Any) -> Any:
        key = ApiKeyFactory(owner=owner, **limits)
        client: Any = client_with(key.secret)
        client.key = key
        return client

    return make


def send(client: Any, content: bytes = b"sound", headers: Any = None, **fields: Any):
    upload = SimpleUploadedFile("speech.wav", content)
    return client.post(
        TASKS, {"file": upload, **fields}, format="multipart", headers=headers
    )


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


# --- Tasks that have not ended -------------------------------------------------------


def test_a_key_has_so_many_unfinished_tasks_and_no_more(limited, media_root):
    client = limited(unfinished_tasks=2)
    assert [send(client).status_code for _ in range(2)] == [201, 201]
    stored = files_below(media_root)

    refused = send(client)

    read_problem(refused, 429, "queue_quota_exceeded")
    assert int(refused.headers["Retry-After"]) >= 1
    assert TranscriptionTask.objects.count() == 2
    assert files_below(media_root) == stored


@pytest.mark.parametrize("state", ["failed", "cancelled", "completed"])
def test_a_task_that_has_ended_makes_room(limited, state):
    client = limited(unfinished_tasks=1)
    TaskFactory(
        owner=client.key.owner, quota_account=client.key.quota_account, **{state: True}
    )

    assert send(client).status_code == 201


@pytest.mark.parametrize("state", ["prepared", "queued", "processing"])
def test_a_task_counts_until_it_has_ended(limited, state):
    client = limited(unfinished_tasks=1)
    TaskFactory(
        owner=client.key.owner, quota_account=client.key.quota_account, **{state: True}
    )

    read_problem(send(client), 429, "queue_quota_exceeded")


def test_links_and_detections_count_as_well(limited):
    link = {"file_url": "https://example.org/a.wav"}
    for path in (TASKS, "/api/v1/detect-language/"):
        client = limited(unfinished_tasks=1)
        assert send(client).status_code == 201
        read_problem(client.post(path, link), 429, "queue_quota_exceeded")


def test_other_keys_of_the_owner_have_room_of_their_own(limited, owner, settings):
    settings.KEY_UNFINISHED_TASKS = 1
    full, free = limited(), limited()
    send(full)

    assert send(free).status_code == 201
    read_problem(send(full), 429, "queue_quota_exceeded")


def test_a_rotation_makes_no_room(limited):
    client = limited(unfinished_tasks=1)
    send(client)

    _, secret = rotate_key(client.key)

    read_problem(send(client_with(secret)), 429, "queue_quota_exceeded")


def test_a_person_without_a_key_has_the_default_limits(owner, settings, stranger):
    settings.KEY_UNFINISHED_TASKS = 1
    stranger.force_login(owner)

    assert send(stranger).status_code == 201
    read_problem(send(stranger), 429, "queue_quota_exceeded")
    task = TranscriptionTask.objects.get()
    owner.refresh_from_db()
    assert task.quota_account == owner.quota_account is not None


def test_a_request_that_is_sent_again_finds_its_task_and_no_quota(limited):
    client = limited(unfinished_tasks=1)
    headers = {"Idempotency-Key": "one"}
    first = send(client, headers=headers)

    again = send(client, headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    refused = send(client, headers={"Idempotency-Key": "two"})
    read_problem(refused, 429, "queue_quota_exceeded")
    # What is refused leaves no key behind.
    TranscriptionTask.objects.update(status=TranscriptionTask.Status.FAILED)
    assert send(client, b"other", headers={"Idempotency-Key": "two"}).status_code == 201


def test_a_retry_needs_room_and_takes_it(limited):
    client = limited(unfinished_tasks=1)
    failed = with_media(TaskFactory(owner=client.key.owner, failed=True))
    waiting = TaskFactory(
        owner=client.key.owner, quota_account=client.key.quota_account
    )

    read_problem(client.post(address(failed, "retry/")), 429, "queue_quota_exceeded")
    failed.refresh_from_db()
    assert failed.status == "failed"

    waiting.delete()
    assert client.post(address(failed, "retry/")).status_code == 200
    failed.refresh_from_db()
    assert failed.quota_account == client.key.quota_account
    read_problem(send(client), 429, "queue_quota_exceeded")


# --- Audio ---------------------------------------------------------------------------


def use(client: Any, seconds: float) -> None:
    key = client.key
    usage.charge(key.quota_account_id, key.owner_id, audio_seconds=seconds, tasks=1)


def test_the_task_that_passes_the_limit_of_a_day_was_the_last(limited):
    client = limited(audio_seconds_per_day=100)
    use(client, 99.9)
    assert send(client).status_code == 201

    use(client, 500)
    refused = send(client)

    read_problem(refused, 429, "audio_quota_exceeded")
    wait = timedelta(seconds=int(refused.headers["Retry-After"]))
    again = datetime.now(UTC) + wait
    assert timedelta(0) <= again - usage.midnight() < timedelta(seconds=5)
    failed = with_media(TaskFactory(owner=client.key.owner, failed=True))
    read_problem(client.post(address(failed, "retry/")), 429, "audio_quota_exceeded")


def test_a_new_day_has_its_own_audio(limited, monkeypatch):
    client = limited(audio_seconds_per_day=100)
    use(client, 100)
    read_problem(send(client), 429, "audio_quota_exceeded")

    tomorrow = usage.today() + timedelta(days=1)
    monkeypatch.setattr(usage, "today", lambda: tomorrow)

    assert send(client).status_code == 201


def test_a_rotation_gives_no_audio_back(limited):
    client = limited(audio_seconds_per_day=100)
    use(client, 100)

    _, secret = rotate_key(client.key)

    read_problem(send(client_with(secret)), 429, "audio_quota_exceeded")


# --- Priority ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "allowed"),
    [("high", 3), ("normal", 2), ("low", 1)],
    ids=["high", "normal", "low"],
)
def test_tasks_have_no_higher_priority_than_their_key(limited, highest, allowed):
    client = limited(highest_priority=highest)
    order = ["low", "normal", "high"]

    for priority in order[:allowed]:
        made = send(client, priority=priority.upper())
        assert made.status_code == 201
        assert made.json()["priority"] == priority
    for priority in order[allowed:]:
        read_problem(send(client, priority=priority), 403, "priority_not_allowed")


def test_a_client_that_names_no_priority_gets_what_its_key_may_have(limited):
    priorities = [
        send(limited(highest_priority=highest)).json()["priority"]
        for highest in ("high", "normal", "low")
    ]

    assert priorities == ["normal", "normal", "low"]


def test_a_priority_is_not_raised_above_that_of_the_key(limited):
    client = limited(highest_priority="normal")
    task = TaskFactory(owner=client.key.owner, queued=True, priority="low")

    refused = client.patch(address(task), {"priority": "high"})
    raised = client.patch(address(task), {"priority": "normal"})

    read_problem(refused, 403, "priority_not_allowed")
    assert raised.json()["priority"] == "normal"


def test_a_detection_has_no_higher_priority_either(limited):
    client = limited(highest_priority="low")

    response = client.post(
        "/api/v1/detect-language/",
        {"file_url": "https://example.org/a.wav", "priority": "normal"},
    )

    read_problem(response, 403, "priority_not_allowed")


def test_a_key_without_a_highest_priority_has_the_default(limited, settings):
    settings.KEY_HIGHEST_PRIORITY = "low"

    read_problem(send(limited(), priority="high"), 403, "priority_not_allowed")
    assert send(limited(highest_priority="high"), priority="high").status_code == 201


def test_a_refusal_is_told_before_the_media_are_stored(limited, media_root):
    client = limited(highest_priority="low")
    headers = {"Idempotency-Key": uuid.uuid4().hex}

    refused = send(client, priority="high", headers=headers)

    read_problem(refused, 403, "priority_not_allowed")
    assert files_below(media_root) == []
