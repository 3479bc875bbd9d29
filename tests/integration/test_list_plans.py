"""How the databases read a page of the list: by an index, whatever is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tests.integration.api.conftest import TASKS, client_with
from tests.integration.databases import PLANS_ONLY
from tests.support.factories import ApiKeyFactory, SlotFactory
from tools import many_tasks
from transcription.api.filters import LOOKUPS
from transcription.models import TranscriptionTask
from transcription.services import turns
from whisperhub.api.pagination import MAX_LIMIT

pytestmark = [
    pytest.mark.django_db,
    PLANS_ONLY,
]

ROWS = 20_000
TABLE = TranscriptionTask._meta.db_table
RECENTLY = (timezone.now() - timedelta(days=30)).isoformat()
QUERIES = [
    {},
    {"status": "queued"},
    {"status": "completed"},
    {"priority": "high"},
    {"task_type": "detect_language"},
    {"language": "ja"},
    {"language": "en"},
    {"engine": "openai-whisper"},
    {"model": "base"},
    {"model": "none-has-this"},
    {"platform": "podcast"},
    {"platform": "none-has-this"},
    {"created_after": RECENTLY},
    {"created_before": RECENTLY},
    {"finished_after": RECENTLY},
    {"finished_before": RECENTLY},
    {"has_result": "true"},
    {"has_result": "false"},
    {"has_error": "true"},
    {"has_error": "false"},
    {"ordering": "created_at"},
    {"ordering": "-finished_at"},
    {"ordering": "finished_at"},
    {"status": "failed", "created_after": RECENTLY},
    {"language": "ja", "ordering": "created_at"},
]

RARE: list[dict[str, str]] = [
    {"status": "queued"},
    {"priority": "high"},
    {"task_type": "detect_language"},
    {"language": "ja"},
    {"engine": "openai-whisper"},
    {"model": "base"},
    {"platform": "none-has-this"},
    {"has_error": "true"},
]


@pytest.fixture(scope="module")
def biggest_owner(django_db_setup: None, django_db_blocker: Any) -> Iterator[User]:
    """Of enough tasks for a database to choose as it does in earnest.

    For all tests of this file, whose transactions nest in one that is undone.
    """
    with django_db_blocker.unblock():
        with transaction.atomic():
            yield many_tasks.fill(ROWS, owners=20)[0]
            transaction.set_rollback(True)
        connection.close()


@pytest.fixture
def big_client(biggest_owner: User) -> APIClient:
    many_tasks.analyse()
    return client_with(ApiKeyFactory(owner=biggest_owner).secret)


def plans(client: APIClient, address: str, query: dict[str, str]) -> list[str]:
    """How each statement of a request that reads tasks is carried out."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address, query).status_code == 200
    statements = [
        entry["sql"] for entry in captured.captured_queries if TABLE in entry["sql"]
    ]
    return [explain(statement) for statement in statements]


def explain(statement: str) -> str:
    word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{word} {statement}".replace("%", "%%"), [])
        return "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())


def named(query: dict[str, str]) -> str:
    """A query as a name that is the same tomorrow."""
    words = (
        f"{name}={'recently' if value == RECENTLY else value}"
        for name, value in query.items()
    )
    return ",".join(words) or "all"


@pytest.mark.parametrize("query", QUERIES, ids=named)
def test_a_page_is_read_from_an_index_in_its_order(big_client, query):
    count, page = plans(big_client, TASKS, query)

    check(count, page)
    for name in query.keys() & LOOKUPS.keys():
        column = LOOKUPS[name].partition("__")[0]
        # Where most rows match, PostgreSQL may as well look at all in their order.
        if connection.vendor == "sqlite" or query in RARE:
            assert column in searched(page), page


@pytest.mark.parametrize("ordering", ["-created_at", "finished_at"])
def test_a_page_behind_a_cursor_is_read_from_an_index_in_its_order(
    big_client, ordering
):
    first = big_client.get(TASKS, {"ordering": ordering}).json()

    query = {"ordering": ordering, "cursor": first["next_cursor"]}
    check(*plans(big_client, TASKS, query))


@pytest.mark.parametrize("status", ["queued", "processing"])
def test_the_outlook_of_a_task_is_read_from_indexes(big_client, biggest_owner, status):
    SlotFactory(model="large-v3")
    task = TranscriptionTask.objects.filter(
        owner=biggest_owner, status=status, model="large-v3"
    )[0]

    for plan in plans(big_client, f"{TASKS}{task.public_id}/", {}):
        assert not reads_all(plan), plan
        assert not sorts(plan), plan


def test_whose_turn_it_is_is_read_from_an_index(big_client, biggest_owner):
    owner_id = biggest_owner.pk
    lane = "large-v3.normal"
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        assert turns.first_in(lane) is not None
        assert turns.turn_to_come(lane, owner_id) > 1
        turns.next_turn(lane, owner_id)
        turns.close_gaps()
    statements = [entry["sql"] for entry in captured.captured_queries]
    found = [
        explain(statement) for statement in statements if f'FROM "{TABLE}"' in statement
    ]

    assert len(found) >= 4
    for plan in found:
        assert not reads_all(plan), plan
        assert not sorts(plan), plan
        assert re.search(r"\btask_turn", plan), plan


def check(count: str, page: str) -> None:
    """No more is read than is counted, and than is on the page."""
    assert not reads_all(count), count
    assert not reads_all(page), page
    assert not sorts(page), page
    # By one of our own indexes.
    assert re.search(r"\btask_(list|of)_", page), page


def searched(plan: str) -> str:
    """What the index of a page is searched for."""
    if connection.vendor == "sqlite":
        return plan.partition("(")[2]
    return " ".join(re.findall(r"Index Cond: (.*)", plan))


def reads_all(plan: str) -> bool:
    """Whether the whole table of tasks is read."""
    if connection.vendor == "sqlite":
        return f"SCAN {TABLE}" in plan
    return "Seq Scan" in plan


def sorts(plan: str) -> bool:
    """Whether more rows than a page may hold are read and then sorted."""
    if connection.vendor == "postgresql":
        sorted_rows = re.findall(r"Sort .*rows=(\d+)", plan)
        return any(int(rows) > MAX_LIMIT for rows in sorted_rows)
    return "TEMP B-TREE" in plan
