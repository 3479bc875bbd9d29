"""Lists, single tasks, results and subtitles."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.integration.api.conftest import TASKS
from tests.support.factories import SlotFactory, TaskFactory, TranscriptFactory, segment
from tests.support.problems import read_problem
from tests.support.stored_files import TaskFiles
from transcription.models import Transcript, TranscriptionTask
from whisperhub.api import pagination

pytestmark = pytest.mark.django_db

DETAIL = ["", "result/", "subtitles/"]


def address(task: Any, part: str = "") -> str:
    return f"{TASKS}{task.public_id}/{part}"


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [item["id"] for item in response.json()["results"]]


# --- Lists ---------------------------------------------------------------------------


def test_the_list_is_the_owners_newest_first(client, owner):
    TaskFactory()
    tasks = TaskFactory.create_batch(3, owner=owner)

    assert ids(client.get(TASKS)) == [str(task.public_id) for task in reversed(tasks)]


def test_pages_follow_each_other(client, owner):
    TaskFactory.create_batch(5, owner=owner)
    everything = ids(client.get(TASKS))
    pages: list[list[str]] = []
    offset: Any = 0

    while offset is not None:
        body = client.get(TASKS, {"limit": 2, "offset": offset}).json()
        assert (body["total_count"], body["total_count_exact"]) == (5, True)
        assert body["has_more"] == (body["next_offset"] is not None)
        pages.append([item["id"] for item in body["results"]])
        offset = body["next_offset"]

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [name for page in pages for name in page] == everything


def test_a_page_that_is_just_full_has_no_next(client, owner):
    TaskFactory.create_batch(2, owner=owner)

    body = client.get(TASKS, {"limit": 2}).json()

    assert (body["has_more"], body["next_offset"]) == (False, None)


def test_an_empty_list_is_a_page_too(client):
    assert client.get(TASKS).json() == {
        "results": [],
        "total_count": 0,
        "total_count_exact": True,
        "has_more": False,
        "next_offset": None,
        "next_cursor": None,
    }


def test_the_count_stops_where_counting_costs(client, owner, monkeypatch):
    monkeypatch.setattr(pagination, "MAX_COUNT", 3)
    TaskFactory.create_batch(4, owner=owner)

    body = client.get(TASKS).json()

    assert (body["total_count"], body["total_count_exact"]) == (3, False)
    assert len(body["results"]) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "-1"),
        ("limit", "many"),
        ("limit", "9" * 5000),
        ("offset", "-1"),
        ("offset", "10001"),
        ("offset", "1.5"),
        ("status", "done"),
        ("priority", "urgent"),
        ("task_type", "dance"),
    ],
    ids=lambda value: value[:10],
)
def test_a_value_that_is_not_allowed_is_named(client, name, value):
    body = read_problem(client.get(TASKS, {name: value}), 400, "invalid")

    assert list(body["errors"]) == [name]
    assert body["errors"][name][0]["message"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"status": "completed"}, 1),
        ({"status": "failed"}, 1),
        ({"status": "cancelled"}, 0),
        ({"priority": "high"}, 1),
        ({"task_type": "translate"}, 1),
        ({"status": "completed", "priority": "high"}, 0),
        ({"limit": "", "offset": ""}, 4),
    ],
    ids=str,
)
def test_filters(client, owner, query, count):
    TaskFactory(owner=owner, completed=True)
    TaskFactory(owner=owner, failed=True)
    TaskFactory(owner=owner, priority="high")
    TaskFactory(owner=owner, task_type="translate")

    assert client.get(TASKS, query).json()["total_count"] == count


def test_a_list_asks_the_same_for_many_rows_and_loads_no_transcript(client, owner):
    def count_queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            client.get(TASKS, {"limit": 100})
        assert not any(
            re.search(r"transcription_transcript\b", query["sql"])
            for query in captured.captured_queries
        )
        return len(captured)

    client.get(TASKS)
    TaskFactory(owner=owner, completed=True)
    few = count_queries()
    TaskFactory.create_batch(30, owner=owner, completed=True)

    assert few <= 4
    assert count_queries() == few


# --- One task ------------------------------------------------------------------------


def test_a_running_task_shows_its_progress(client, owner):
    task = TaskFactory(owner=owner, processing=True, progress=0.25)

    body = client.get(address(task)).json()

    assert body["status"] == "processing"
    assert body["progress"]["share"] == 0.25
    assert body["progress"]["seconds_done"] == 2.5
    assert body["media"] == {
        "duration_seconds": 10.0,
        "format": "wav",
        "audio_codec": "pcm_s16le",
        "sample_rate": 16_000,
        "channels": 1,
        "has_video": False,
    }


def test_a_failed_task_shows_why(client, owner):
    task = TaskFactory(owner=owner, failed=True)

    error = client.get(address(task)).json()["error"]

    assert error["code"] == "invalid_media"
    assert error["message"]


def test_nothing_of_the_lease_is_shown(client, owner):
    task = TaskFactory(owner=owner, processing=True)

    text = client.get(address(task)).content.decode()

    assert str(task.lease_token) not in text
    assert "lease" not in text


@pytest.mark.parametrize("part", DETAIL)
def test_another_owners_task_does_not_exist(client, part):
    task = TaskFactory(completed=True)

    read_problem(client.get(address(task, part)), 404, "not_found")


@pytest.mark.parametrize("part", DETAIL)
@pytest.mark.parametrize("name", [str(uuid.UUID(int=5)), "5", "nonsense"])
def test_an_unknown_task_does_not_exist(client, part, name):
    read_problem(client.get(f"{TASKS}{name}/{part}"), 404, "not_found")


def test_another_owners_task_cannot_be_deleted(client):
    task = TaskFactory(completed=True)

    read_problem(client.delete(address(task)), 404, "not_found")
    assert TranscriptionTask.objects.exists()


@pytest.mark.parametrize(
    "state", ["prepared", "leased", "queued", "processing", "completed", "failed"]
)
def test_deleting_leaves_neither_row_nor_file(client, owner, state):
    task = TaskFactory(owner=owner, **{state: True})
    files = TaskFiles(task.public_id)
    files.create()
    files.original.write_bytes(b"media")

    response = client.delete(address(task))

    assert response.status_code == 204
    assert response.content == b""
    assert not TranscriptionTask.objects.exists()
    assert not Transcript.objects.exists()
    assert not files.exist()
    read_problem(client.delete(address(task)), 404, "not_found")


@pytest.mark.parametrize("method", ["put", "post"])
def test_a_task_cannot_be_edited(client, owner, method):
    task = TaskFactory(owner=owner)

    response = getattr(client, method)(address(task), {"priority": "high"})

    read_problem(response, 405, "method_not_allowed")


# --- Results -------------------------------------------------------------------------


def test_the_result_of_a_completed_task(client, owner):
    task = TaskFactory(owner=owner, completed=True)

    body = client.get(address(task, "result/")).json()

    assert body["id"] == str(task.public_id)
    assert body["text"] == "We meet in Tokyo. Peter plays."
    assert (body["language"], body["task_type"]) == ("en", "transcribe")
    assert body["segments"][0] == segment(0, 0.0, 2.5, " We meet in Tokyo.")
    assert body["model"]["name"] == "demo"
    assert body["notices"] == [
        {"code": "model", "message": "demo model: knows little", "details": {}}
    ]
    assert body["duration"] == 10.0
    timings = body["timings"]
    assert timings["inference"] == 2.5
    assert timings["preparation"] == pytest.approx(2, abs=0.5)
    assert timings["queue"] == pytest.approx(2, abs=0.5)
    assert timings["total"] is not None


@pytest.mark.parametrize("part", ["result/", "subtitles/"])
@pytest.mark.parametrize("state", ["prepared", "leased", "queued", "processing"])
def test_an_unfinished_task_has_no_result_yet(client, owner, state, part):
    task = TaskFactory(owner=owner, **{state: True})

    response = client.get(address(task, part))

    assert response.status_code == 202
    assert response.headers["Retry-After"] == "1"
    assert response.json()["id"] == str(task.public_id)
    assert response.json()["status"] == task.status


@pytest.mark.parametrize("part", ["result/", "subtitles/"])
@pytest.mark.parametrize(
    ("traits", "code"),
    [
        ({"failed": True}, "invalid_media"),
        ({"failed": True, "error_code": "worker_lost"}, "worker_lost"),
        ({"cancelled": True}, "cancelled"),
    ],
    ids=["failed", "lost", "cancelled"],
)
def test_a_task_without_a_result_tells_why(client, owner, traits, code, part):
    task = TaskFactory(owner=owner, **traits)

    read_problem(client.get(address(task, part)), 409, code)


# --- Subtitles -----------------------------------------------------------------------


def test_subrip_is_the_default(client, owner):
    task = TaskFactory(owner=owner, completed=True)

    response = client.get(address(task, "subtitles/"))

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/x-subrip; charset=utf-8"
    assert response.content.decode() == (
        "1\n00:00:00,000 --> 00:00:02,500\nWe meet in Tokyo.\n\n"
        "2\n00:00:02,500 --> 00:00:04,000\nPeter plays.\n\n"
    )


def test_webvtt(client, owner):
    task = TaskFactory(owner=owner, completed=True)

    response = client.get(address(task, "subtitles/"), {"output_format": "vtt"})

    assert response.headers["Content-Type"] == "text/vtt; charset=utf-8"
    assert response.content.decode().startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02")


def test_another_format_is_refused(client, owner):
    task = TaskFactory(owner=owner, completed=True)

    response = client.get(address(task, "subtitles/"), {"output_format": "docx"})

    body = read_problem(response, 400, "invalid")
    assert list(body["errors"]) == ["output_format"]


@pytest.mark.parametrize(
    ("file_name", "quoted"),
    [
        ("talk.mp3", "talk.srt"),
        ("录音.m4a", "%E5%BD%95%E9%9F%B3.srt"),
        ('a"b;c.wav', "a%22b%3Bc.srt"),
        ("noextension", "noextension.srt"),
    ],
)
def test_the_file_is_called_like_the_media(client, owner, file_name, quoted):
    task = TaskFactory(owner=owner, completed=True, file_name=file_name)

    response = client.get(address(task, "subtitles/"))

    assert response.headers["Content-Disposition"] == (
        f"attachment; filename*=UTF-8''{quoted}"
    )


@pytest.mark.parametrize("accept", ["application/x-subrip", "text/vtt", "text/plain"])
def test_subtitles_are_given_to_who_accepts_subtitles_only(client, owner, accept):
    """Swagger UI sends the documented media type as what it accepts."""
    task = TaskFactory(owner=owner, completed=True)

    response = client.get(address(task, "subtitles/"), headers={"Accept": accept})

    assert response.status_code == 200


def test_a_transcript_without_speech_is_an_empty_file(client, owner):
    transcript = TranscriptFactory(task__owner=owner, text="", segments=[])

    response = client.get(address(transcript.task, "subtitles/"))

    assert (response.status_code, response.content) == (200, b"")


# --- Models --------------------------------------------------------------------------


def test_the_served_models(client):
    SlotFactory(model="demo", demo=True, languages=["en", "es"])
    SlotFactory(model="small", state="failed", message="No such model.")

    demo, small = client.get("/api/v1/models/").json()["results"]

    assert (demo["name"], demo["state"], demo["slots"]) == ("demo", "ready", 1)
    assert demo["notice"].startswith("demo model")
    assert (demo["languages"], small["languages"]) == (["en", "es"], [])
    assert (small["name"], small["state"], small["slots"]) == ("small", "failed", 0)
