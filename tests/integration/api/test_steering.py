"""What a client may do to its task: cancel it, change its priority, start it again."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.integration.api.test_reading import address
from tests.support.factories import CallbackFactory, TaskFactory
from tests.support.problems import read_problem
from tests.support.stored_files import TaskFiles
from transcription.models import Callback, TranscriptionTask
from transcription.services import ageing, events, retention
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import claims, failure
from transcription.work.heartbeat import Heartbeat

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures(
        "no_hints", "django_capture_on_commit_callbacks", "each_storage"
    ),
]

UNFINISHED = ["prepared", "leased", "queued", "processing"]


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """The tasks whose workers were told to look."""
    told: list[uuid.UUID] = []
    monkeypatch.setattr(events, "announce_stop", told.append)
    return told


def with_media(task: Any) -> Any:
    files = TaskFiles(task.public_id)
    files.create()
    files.original.write_bytes(b"media")
    return task


def reload(task: Any) -> TranscriptionTask:
    return TranscriptionTask.objects.get(pk=task.pk)


# --- Cancel --------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["prepared", "queued"])
def test_a_waiting_task_is_cancelled_at_once(client, owner, state):
    task = with_media(TaskFactory(owner=owner, **{state: True}))

    response = client.post(address(task, "cancel/"))

    assert response.status_code == 200
    assert response.json()["status"] == "cancelled"
    assert response.json()["finished_at"]
    assert not TaskFiles(task.public_id).samples.exists()


@pytest.mark.parametrize("state", ["leased", "processing"])
def test_the_worker_of_a_running_task_is_told(client, owner, stops, state):
    task = TaskFactory(owner=owner, **{state: True})

    body = client.post(address(task, "cancel/")).json()

    assert body["status"] == task.status
    assert body["cancel_requested_at"]
    assert stops == [task.public_id]


def test_to_cancel_twice_is_to_cancel(client, owner):
    task = TaskFactory(owner=owner, queued=True)
    first = client.post(address(task, "cancel/")).json()

    assert client.post(address(task, "cancel/")).json() == first


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_what_has_ended_cannot_be_cancelled(client, owner, state):
    task = TaskFactory(owner=owner, **{state: True})

    read_problem(client.post(address(task, "cancel/")), 409, "already_ended")

    assert reload(task).status == state


# --- Priority ------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["prepared", "queued"])
def test_a_waiting_task_gets_its_priority_and_a_new_hint(
    client, owner, no_hints, django_capture_on_commit_callbacks, state
):
    task = TaskFactory(
        owner=owner,
        dispatched=True,
        priority="low",
        effective_priority="normal",
        **{state: True},
    )

    with django_capture_on_commit_callbacks(execute=True):
        body = client.patch(address(task), {"priority": "HIGH"}).json()

    assert (body["priority"], body["effective_priority"]) == ("high", "high")
    assert no_hints == [task.pk]
    assert reload(task).dispatched_at is None


def test_a_task_in_preparation_keeps_its_lease(client, owner):
    task = TaskFactory(owner=owner, leased=True)

    assert client.patch(address(task), {"priority": "low"}).status_code == 200

    row = reload(task)
    assert (row.effective_priority, row.lease_token) == ("low", task.lease_token)


@pytest.mark.parametrize(
    "traits",
    [
        {"processing": True},
        {"completed": True},
        {"failed": True},
        {"cancelled": True},
        {"leased": True, "cancel_requested_at": timezone.now()},
    ],
    ids=lambda traits: "-".join(traits),
)
def test_what_does_not_wait_keeps_its_priority(client, owner, traits):
    task = TaskFactory(owner=owner, **traits)

    response = client.patch(address(task), {"priority": "high"})

    read_problem(response, 409, "not_waiting")
    assert reload(task).priority == "normal"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "priority"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": "high", "status": "completed"}, "status"),
    ],
    ids=str,
)
def test_nothing_else_can_be_changed(client, owner, body, field):
    task = TaskFactory(owner=owner, queued=True)

    problem = read_problem(client.patch(address(task), body), 400, "invalid")

    assert list(problem["errors"]) == [field]
    assert reload(task).status == "queued"


# --- Retry ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "traits",
    [
        {"failed": True, "losses": 2},
        {"cancelled": True},
        {"cancelled": True, "queued_at": timezone.now(), "progress": 0.5},
    ],
    ids=["failed", "cancelled", "while it ran"],
)
def test_a_task_starts_again_as_if_it_had_just_come(
    client, owner, no_hints, django_capture_on_commit_callbacks, traits
):
    task = with_media(
        TaskFactory(owner=owner, priority="low", effective_priority="high", **traits)
    )

    with django_capture_on_commit_callbacks(execute=True):
        response = client.post(address(task, "retry/"))

    body = response.json()
    assert response.status_code == 200
    assert (body["id"], body["status"]) == (str(task.public_id), "preparing")
    assert body["effective_priority"] == "low"
    assert (body["attempts"], body["error"]) == (0, None)
    assert body["progress"]["share"] == 0
    assert body["retried_at"]
    for moment in ("queued_at", "started_at", "finished_at", "cancel_requested_at"):
        assert body[moment] is None
    assert no_hints == [task.pk]
    assert claims.claim_preparation(task.pk, owner="media") is not None
    assert reload(task).losses == 0


def test_the_news_of_the_former_end_is_withdrawn_and_the_next_told(
    client, owner, quiet_heart
):
    task = with_media(TaskFactory(owner=owner, failed=True, callback_url="http://a/"))
    CallbackFactory(task=task, delivering=True)

    client.post(address(task, "retry/"))

    assert not Callback.objects.exists()
    lease = claims.claim_preparation(task.pk, owner="media")
    assert lease is not None
    failure.fail(lease, code="no_audio", message="No audio.")
    assert Callback.objects.get().event == "task.failed"


def test_an_old_task_that_starts_again_does_not_rise_at_once(client, owner):
    task = with_media(TaskFactory(owner=owner, failed=True))
    long_ago = timezone.now() - timedelta(days=3)
    TranscriptionTask.objects.filter(pk=task.pk).update(created_at=long_ago)

    client.post(address(task, "retry/"))

    assert ageing.raise_aged() == 0


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_without_media_a_task_cannot_start_again(client, owner, state):
    task = TaskFactory(owner=owner, **{state: True})

    read_problem(client.post(address(task, "retry/")), 409, "media_gone")

    assert reload(task).status == state


@pytest.mark.parametrize("state", [*UNFINISHED, "completed"])
def test_only_a_failed_or_cancelled_task_starts_again(client, owner, state):
    task = with_media(TaskFactory(owner=owner, **{state: True}))

    read_problem(client.post(address(task, "retry/")), 409, "not_retryable")

    assert reload(task).status == task.status


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_task_tells_until_when_it_may_start_again(client, owner, settings, state):
    task = with_media(TaskFactory(owner=owner, **{state: True}))

    body = client.get(address(task)).json()

    assert body["can_retry"] is True
    assert datetime.fromisoformat(body["retry_until"]) == task.media_expires_at
    assert client.post(address(task, "retry/")).json()["can_retry"] is False
    assert client.get(address(task)).json()["retry_until"] is None


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({"failed": True, "media_expires_at": None}, False),
        ({"failed": True, "media_expires_at": None, "source": "link"}, True),
        ({"completed": True}, False),
        ({"queued": True}, False),
    ],
    ids=["upload-gone", "link", "completed", "queued"],
)
def test_what_may_start_again_by_its_row(client, owner, traits, expected):
    body = client.get(address(TaskFactory(owner=owner, **traits))).json()

    assert (body["can_retry"], body["retry_until"]) == (expected, None)


def test_a_failed_link_is_fetched_anew(client, owner):
    task = TaskFactory(owner=owner, failed=True, source="link", media_expires_at=None)

    assert client.post(address(task, "retry/")).json()["status"] == "preparing"


def test_kept_originals_may_start_again_for_good(client, owner, settings):
    settings.KEEP_ORIGINALS = True
    task = with_media(TaskFactory(owner=owner, failed=True, media_expires_at=None))

    assert client.get(address(task)).json()["can_retry"] is True
    assert client.post(address(task, "retry/")).json()["status"] == "preparing"


# --- Delete --------------------------------------------------------------------------


@pytest.mark.usefixtures("quiet_heart")
@pytest.mark.parametrize("state", ["leased", "processing"])
def test_the_worker_of_a_deleted_task_stops_and_writes_nothing(
    client, owner, stops, state
):
    task = with_media(TaskFactory(owner=owner, **{state: True}))
    heart = Heartbeat()

    with heart.hold(TASKS.lease(task.pk, task.lease_token)) as held:
        assert client.delete(address(task)).status_code == 204
        heart.beat()

        assert held.should_stop()
    assert stops == [task.public_id]
    assert not TaskFiles(task.public_id).exist()
    retention.discard_media(task, "cancelled")
    assert not TranscriptionTask.objects.exists()


# --- Whose ---------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["cancel/", "retry/"])
def test_another_owners_task_is_left_alone(client, part):
    task = with_media(TaskFactory(cancelled=True))

    read_problem(client.post(address(task, part)), 404, "not_found")
    read_problem(client.patch(address(task), {"priority": "low"}), 404, "not_found")
    assert reload(task).retried_at is None
