"""What was counted under numbers before there were quota accounts, and back again."""

from __future__ import annotations

from datetime import date
from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.models import ApiKey, DailyUsage, QuotaAccount, User
from transcription.models import TranscriptionTask

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("accounts", "0009_dailyusage"), ("transcription", "0001_everything_to_0033")]
DAY = date(2026, 11, 1)
FILLS = (
    "accounts.migrations.0011_fill_quota_accounts",
    "transcription.migrations.0035_fill_task_quota_accounts",
)
# Of a key that is deleted, with usage and without.
DELETED_KEY, FORGOTTEN_KEY = 900_001, 900_002


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    for name in FILLS:
        monkeypatch.setattr(import_module(name), "BATCH", 2)


@pytest.fixture
def latest():
    graph = MigrationExecutor(connection).loader.graph
    targets = [*graph.leaf_nodes("accounts"), *graph.leaf_nodes("transcription")]
    yield targets
    migrate(targets)


def migrate(targets: list[Any]) -> Any:
    """Bring the database there, and return the models as they are then."""
    MigrationExecutor(connection).migrate(targets)
    return MigrationExecutor(connection).loader.project_state(targets).apps


class Before:
    """Rows as the release before left them."""

    def __init__(self, apps: Any) -> None:
        self.keys = apps.get_model("accounts", "ApiKey").objects
        self.usage = apps.get_model("accounts", "DailyUsage").objects
        self.tasks = apps.get_model("transcription", "TranscriptionTask").objects
        self.users = apps.get_model("accounts", "User").objects

    def fill(self) -> None:
        owner = self.users.create(username="owner")
        staff = self.users.create(username="staff")
        first = self.keys.create(owner=owner, name="first", digest="1")
        for name in ("second", "third"):
            self.keys.create(owner=owner, name=name, digest=name, first_key=first.pk)
        other = self.keys.create(owner=staff, name="other", digest="o")
        self.keys.create(owner=owner, name="unused", digest="u")
        numbers = {
            "first": (first.pk, owner),
            "session": (-owner.pk, owner),
            "deleted": (DELETED_KEY, owner),
            # Started once more by staff.
            "of staff": (other.pk, owner),
            "staff's session": (-staff.pk, owner),
            "forgotten": (FORGOTTEN_KEY, owner),
            "user gone": (-987_654, owner),
            "before keys had limits": (None, owner),
        }
        for name, (number, whose) in numbers.items():
            for _ in range(3):
                self.tasks.create(
                    owner=whose, model="demo", platform=name, key_line=number
                )
            if name in ("first", "session", "deleted", "of staff"):
                for day in (1, 2):
                    self.usage.create(
                        owner=whose,
                        line=number,
                        day=DAY.replace(day=day),
                        audio_seconds=day,
                        tasks=1,
                    )

    def lines(self) -> dict[str, set[int | None]]:
        """What tasks count under, by what they are."""
        found: dict[str, set[int | None]] = {}
        for name, number in self.tasks.values_list("platform", "key_line"):
            found.setdefault(name, set()).add(number)
        return found

    def key_lines(self) -> dict[str, int]:
        rows = self.keys.values_list("name", "first_key", "pk")
        return {name: first or pk for name, first, pk in rows}

    def days(self) -> list[Any]:
        rows = self.usage.order_by("line", "day")
        return list(rows.values_list("line", "day", "audio_seconds", "tasks"))


def accounts_of_tasks() -> dict[str, Any]:
    found: dict[str, set[Any]] = {}
    for task in TranscriptionTask.objects.all():
        found.setdefault(task.platform, set()).add(task.quota_account_id)
    assert all(len(each) == 1 for each in found.values())
    return {name: each.pop() for name, each in found.items()}


def test_each_number_becomes_an_account_and_keeps_what_it_counted(latest):
    before = Before(migrate(BEFORE))
    before.fill()

    migrate(latest)

    keys = {key.name: key for key in ApiKey.objects.all()}
    owner, staff = (User.objects.get(username=name) for name in ("owner", "staff"))
    account = accounts_of_tasks()
    shared = {keys[name].quota_account_id for name in ("first", "second", "third")}
    assert shared == {account["first"]}
    assert account["of staff"] == keys["other"].quota_account_id
    assert account["session"] == owner.quota_account_id
    assert account["staff's session"] == staff.quota_account_id
    assert account["user gone"] is None
    assert account["before keys had limits"] is None
    made = {number for number in account.values() if number is not None}
    made.add(keys["unused"].quota_account_id)
    assert set(QuotaAccount.objects.values_list("pk", flat=True)) == made
    assert len(made) == 7
    assert dict(QuotaAccount.objects.values_list("pk", "owner__username")) == {
        **dict.fromkeys(made, "owner"),
        account["of staff"]: "staff",
        account["staff's session"]: "staff",
    }
    counted = DailyUsage.objects.order_by("day").values_list(
        "quota_account", "audio_seconds"
    )
    assert sorted(counted) == sorted(
        (account[name], seconds)
        for name in ("first", "session", "deleted", "of staff")
        for seconds in (1.0, 2.0)
    )


def test_the_way_back_gives_the_numbers_of_before(latest):
    before = Before(migrate(BEFORE))
    before.fill()
    lines, keys, days = before.lines(), before.key_lines(), before.days()
    migrate(latest)

    again = Before(migrate(BEFORE))

    assert (again.lines(), again.key_lines(), again.days()) == (lines, keys, days)


def test_the_way_back_numbers_what_was_made_meanwhile(latest):
    # From the first release with limits on, as an upgrade of a new database does.
    person = User.objects.create(username="new")
    first, _ = ApiKey.issue(person, "first")
    ApiKey.issue(person, "second", quota_account_id=first.quota_account_id)
    other, _ = ApiKey.issue(person, "other")
    session = QuotaAccount.objects.create(owner=person)
    User.objects.filter(pk=person.pk).update(quota_account=session)
    for name, account_id in {
        "first": first.quota_account_id,
        "other": other.quota_account_id,
        "session": session.pk,
        "none": None,
    }.items():
        TranscriptionTask.objects.create(
            owner=person, model="demo", platform=name, quota_account_id=account_id
        )
        DailyUsage.objects.create(
            owner=person, quota_account_id=account_id, day=DAY, audio_seconds=3, tasks=1
        )
    # A process of the release before, which runs beside this one, has counted too.
    DailyUsage.objects.create(
        owner=person, line=-person.pk, day=DAY, audio_seconds=4, tasks=2
    )

    back = Before(migrate(BEFORE))

    lines, keys = back.lines(), back.key_lines()
    assert keys["first"] == keys["second"] != keys["other"]
    assert lines["first"] == {keys["first"]}
    assert lines["other"] == {keys["other"]}
    assert lines["session"] == {-person.pk}
    assert lines["none"] == {None}
    used = {line: (seconds, tasks) for line, _, seconds, tasks in back.days()}
    assert used[-person.pk] == (7.0, 3)
    assert used[keys["first"]] == used[keys["other"]] == (3.0, 1)
    assert len(used) == 4

    migrate(latest)

    account = accounts_of_tasks()
    rotated = ApiKey.objects.filter(quota_account=account["first"])
    assert {key.name for key in rotated} == {"first", "second"}
    assert account["session"] == User.objects.get().quota_account_id
