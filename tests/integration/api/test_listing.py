"""The list of tasks: filters, orderings, pages by offset and by cursor."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.api.conftest import TASKS, client_with
from tests.integration.api.test_reading import ids
from tests.support.factories import ApiKeyFactory, TaskFactory, UserFactory
from tests.support.problems import read_problem
from transcription.api.serializers import TaskSerializer
from transcription.models import TranscriptionTask
from whisperhub.api import pagination

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def names(response: Any) -> list[str]:
    """The file names on a page: what the tests call their tasks."""
    assert response.status_code == 200, response.content
    return [item["file_name"] for item in response.json()["results"]]


def made_at(task: Any, moment: datetime) -> Any:
    TranscriptionTask.objects.filter(pk=task.pk).update(created_at=moment)
    return task


# --- Filters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "queued"}, ["waiting"]),
        ({"status": "COMPLETED"}, ["spanish", "done"]),
        ({"priority": "low"}, ["waiting"]),
        ({"task_type": "translate"}, ["spanish"]),
        ({"language": "es"}, ["spanish"]),
        ({"language": "de"}, ["waiting"]),
        ({"language": "en"}, ["done"]),
        ({"engine": "openai-whisper"}, ["waiting"]),
        ({"model": "small"}, ["waiting"]),
        ({"model": "unheard-of"}, []),
        ({"platform": "tiktok"}, ["done"]),
        ({"has_result": "true"}, ["spanish", "done"]),
        ({"has_result": "false"}, ["broken", "waiting"]),
        ({"has_error": "true"}, ["broken"]),
        ({"has_error": "false"}, ["waiting", "spanish", "done"]),
        ({"has_result": "true", "language": "es"}, ["spanish"]),
        ({"status": "", "platform": ""}, ["broken", "waiting", "spanish", "done"]),
    ],
    ids=str,
)
def test_a_filter_leaves_what_it_names(client, owner, query, found):
    TaskFactory(owner=owner, completed=True, file_name="done", platform="tiktok")
    TaskFactory(
        owner=owner,
        completed=True,
        file_name="spanish",
        task_type="translate",
        language="en",
        detected_language="es",
    )
    TaskFactory(
        owner=owner,
        queued=True,
        file_name="waiting",
        priority="low",
        effective_priority="high",
        language="de",
        engine="openai-whisper",
        model="small",
    )
    TaskFactory(owner=owner, failed=True, file_name="broken")
    TaskFactory(failed=True, file_name="another's")

    assert names(client.get(TASKS, query)) == found


@pytest.mark.parametrize("moment", ["created", "finished"])
def test_a_range_begins_with_its_first_moment_and_ends_before_its_last(
    client, owner, moment
):
    for hours in range(4):
        task = TaskFactory(owner=owner, failed=True, file_name=f"{hours}")
        TranscriptionTask.objects.filter(pk=task.pk).update(
            **{f"{moment}_at": NOON + timedelta(hours=hours)}
        )
    TaskFactory(owner=owner, file_name="unfinished")

    found = client.get(
        TASKS,
        {
            f"{moment}_after": "2026-03-01T13:00:00Z",
            f"{moment}_before": "2026-03-01T23:00:00+08:00",
        },
    )

    assert names(found) == ["2", "1"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stauts", "done"),
        ("page", "2"),
        ("language", "klingon"),
        ("engine", "whisperx"),
        ("has_result", "perhaps"),
        ("has_error", "2"),
        ("created_after", "yesterday"),
        ("created_before", "2026-02-30T00:00:00Z"),
        ("finished_after", "0001-01-01T00:00:00+14:00"),
        ("finished_before", "1700000000"),
        ("platform", "x" * 51),
        ("platform", "a\0b"),
        ("model", "x" * 101),
        ("ordering", "duration"),
        ("ordering", "-created_at,id"),
        ("owner", "somebody"),
        ("cursor", "nonsense"),
        ("cursor", "\u5f55"),
        ("status", ["queued", "failed"]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_not_known_is_named(client, name, value):
    body = read_problem(client.get(TASKS, {name: value}), 400, "invalid")

    assert list(body["errors"]) == [name]
    assert body["errors"][name][0]["message"]


# --- Owners --------------------------------------------------------------------------


def test_staff_may_list_the_tasks_of_one_other_owner(owner):
    staff = client_with(
        ApiKeyFactory(
            owner__is_staff=True, owner__permissions=["view_transcriptiontask"]
        ).secret
    )
    theirs = TaskFactory(owner=owner)
    TaskFactory()

    assert ids(staff.get(TASKS, {"owner": owner.username})) == [str(theirs.public_id)]
    assert ids(staff.get(TASKS)) == []
    body = read_problem(staff.get(TASKS, {"owner": "nobody"}), 400, "invalid")
    assert body["errors"]["owner"][0]["code"] == "unknown_owner"


def test_others_may_name_nobody_but_themselves(client, owner):
    other = UserFactory()
    mine = TaskFactory(owner=owner)

    assert ids(client.get(TASKS, {"owner": owner.username})) == [str(mine.public_id)]
    for name in (other.username, "nobody"):
        body = read_problem(client.get(TASKS, {"owner": name}), 400, "invalid")
        assert body["errors"]["owner"][0]["code"] == "staff_only"


# --- Orderings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ordering", "found"),
    [
        ("created_at", ["a", "b", "c", "d"]),
        ("-created_at", ["d", "c", "b", "a"]),
        ("finished_at", ["c", "a", "b"]),
        ("-finished_at", ["b", "a", "c"]),
    ],
)
def test_orderings(client, owner, ordering, found):
    for number, (name, finished) in enumerate(
        [("a", 2), ("b", 3), ("c", 1), ("d", None)]
    ):
        task = made_at(
            TaskFactory(owner=owner, file_name=name), NOON + timedelta(hours=number)
        )
        if finished is not None:
            TranscriptionTask.objects.filter(pk=task.pk).update(
                status="failed", finished_at=NOON + timedelta(days=finished)
            )

    assert names(client.get(TASKS, {"ordering": ordering})) == found


# --- Pages ---------------------------------------------------------------------------


@pytest.mark.parametrize("ordering", ["-created_at", "created_at", "-finished_at"])
def test_cursors_give_every_task_once_though_some_share_their_moment(
    client, owner, ordering
):
    tasks = TaskFactory.create_batch(7, owner=owner, failed=True)
    for task in tasks[1:5]:
        TranscriptionTask.objects.filter(pk=task.pk).update(
            created_at=NOON, finished_at=NOON
        )
    everything = ids(client.get(TASKS, {"ordering": ordering}))
    query, seen = {"ordering": ordering, "limit": "2"}, []

    while True:
        body = client.get(TASKS, query).json()
        assert body["has_more"] == (body["next_cursor"] is not None)
        assert body["total_count"] == 7
        seen += [item["id"] for item in body["results"]]
        if not body["has_more"]:
            break
        query["cursor"] = body["next_cursor"]
        assert body["next_offset"] is None or len(seen) == 2

    assert seen == everything
    assert len(seen) == 7


def test_a_cursor_holds_its_place_while_tasks_come_and_go(client, owner):
    tasks = TaskFactory.create_batch(5, owner=owner)
    expected = ids(client.get(TASKS))[2:]
    cursor = client.get(TASKS, {"limit": 2}).json()["next_cursor"]

    TaskFactory.create_batch(3, owner=owner)
    tasks[3].delete()  # The one that the cursor names.

    assert ids(client.get(TASKS, {"cursor": cursor})) == expected


def test_a_cursor_belongs_to_its_ordering(client, owner):
    TaskFactory.create_batch(2, owner=owner)
    cursor = client.get(TASKS, {"limit": 1}).json()["next_cursor"]

    query = {"cursor": cursor, "ordering": "created_at"}
    body = read_problem(client.get(TASKS, query), 400, "invalid")

    assert list(body["errors"]) == ["cursor"]


@pytest.mark.parametrize(
    "text",
    [
        "-created_at 1 -1",
        "-created_at 1 9223372036854775808",
        "-created_at 99999999999999999999999 1",
        "-created_at 1 1 1",
        "-created_at x 1",
        "-id 1 1",
    ],
)
def test_a_forged_cursor_is_refused(client, text):
    cursor = base64.urlsafe_b64encode(text.encode()).decode()

    body = read_problem(client.get(TASKS, {"cursor": cursor}), 400, "invalid")

    assert list(body["errors"]) == ["cursor"]


def test_a_cursor_that_was_changed_anywhere_is_refused(client, owner):
    TaskFactory.create_batch(2, owner=owner)
    cursor = client.get(TASKS, {"limit": 1}).json()["next_cursor"]

    for place in [*range(0, len(cursor), 6), len(cursor) - 1]:
        other = "A" if cursor[place] != "A" else "B"
        forged = cursor[:place] + other + cursor[place + 1 :]
        body = read_problem(client.get(TASKS, {"cursor": forged}), 400, "invalid")
        assert list(body["errors"]) == ["cursor"]


def test_a_cursor_is_written_in_one_way(client, owner):
    TaskFactory.create_batch(2, owner=owner)
    cursor = client.get(TASKS, {"limit": 1}).json()["next_cursor"]

    # Two bits of the last character stand for nothing, and are 0.
    forged = cursor[:-1] + chr(ord(cursor[-1]) + 1)

    read_problem(client.get(TASKS, {"cursor": forged}), 400, "invalid")


def test_cursors_of_neighbouring_rows_have_nothing_in_common(client, owner):
    for task in TaskFactory.create_batch(3, owner=owner):
        made_at(task, NOON)

    pages = [client.get(TASKS, {"limit": 1, "offset": n}).json() for n in (0, 1)]

    # Their moments are equal and their numbers differ by one, which a cursor that
    # shows the number would show.
    first, second = (
        base64.urlsafe_b64decode(page["next_cursor"] + "=") for page in pages
    )
    equal = [left == right for left, right in zip(first, second, strict=True)]
    assert sum(equal) < len(equal) / 4


def test_a_cursor_and_an_offset_contradict_each_other(client, owner):
    TaskFactory.create_batch(2, owner=owner)
    cursor = client.get(TASKS, {"limit": 1}).json()["next_cursor"]

    query = {"cursor": cursor, "offset": 1}
    body = read_problem(client.get(TASKS, query), 400, "invalid")

    assert list(body["errors"]) == ["cursor"]


def test_offsets_end_where_cursors_go_on(client, owner, monkeypatch):
    monkeypatch.setattr(pagination, "MAX_OFFSET", 3)
    TaskFactory.create_batch(6, owner=owner)

    last = client.get(TASKS, {"limit": 2, "offset": 2}).json()

    assert (last["has_more"], last["next_offset"]) == (True, None)
    assert (
        ids(client.get(TASKS, {"cursor": last["next_cursor"]}))
        == (ids(client.get(TASKS))[4:])
    )


# --- What a list shows ---------------------------------------------------------------


@pytest.mark.parametrize(
    "state", ["prepared", "leased", "queued", "processing", "completed", "failed"]
)
def test_a_task_is_shown_as_its_fields_would_show_it(client, owner, state):
    task = TaskFactory(owner=owner, **{state: True})
    (shown,) = client.get(TASKS).json()["results"]

    by_fields = TaskSerializer().to_representation(shown)

    assert shown == by_fields
    assert list(shown) == list(by_fields) == TaskSerializer.Meta.fields
    assert shown["links"] == {
        name: f"http://testserver{TASKS}{task.public_id}/{part}"
        for name, part in {
            "self": "",
            "result": "result/",
            "subtitles": "subtitles/",
        }.items()
    }
