"""What a key has used and may use, told over the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts import usage
from accounts.keys import rotate_key
from accounts.limits import quota_account_of
from tests.integration.api.conftest import client_with
from tests.support.factories import (
    ApiKeyFactory,
    QuotaAccountFactory,
    TaskFactory,
    UserFactory,
)
from tests.support.problems import read_problem

pytestmark = pytest.mark.django_db

USAGE = "/api/v1/usage/"
NOTHING = {"audio_seconds": 0.0, "tasks": 0}


def used(seconds: float, tasks: int) -> dict[str, Any]:
    return {"audio_seconds": seconds, "tasks": tasks}


def test_a_key_without_limits_is_told_what_it_has_used(client, owner):
    key = owner.api_keys.get()
    TaskFactory(owner=owner, quota_account=key.quota_account)
    TaskFactory(owner=owner, quota_account=key.quota_account, failed=True)
    usage.charge(key.quota_account_id, owner.pk, audio_seconds=12.5, tasks=2)

    shown = client.get(USAGE).json()

    assert shown == {
        "owner": owner.username,
        "key": str(key.public_id),
        "limits": {
            "requests": {"limit": None, "remaining": None, "reset_seconds": None},
            "audio_seconds": {
                "limit": None,
                "used": 12.5,
                "remaining": None,
                "resets_at": f"{usage.midnight():%Y-%m-%dT%H:%M:%S.%fZ}",
            },
            "unfinished_tasks": {"limit": None, "used": 1, "remaining": None},
            "highest_priority": "high",
        },
        "used": {"today": used(12.5, 2), "last_30_days": used(12.5, 2)},
        "used_by_owner": {"today": used(12.5, 2), "last_30_days": used(12.5, 2)},
    }


def test_a_key_with_limits_is_told_what_is_left(owner, broker):
    key = ApiKeyFactory(
        owner=owner,
        requests_per_minute=10,
        audio_seconds_per_day=100,
        unfinished_tasks=3,
        highest_priority="low",
    )
    TaskFactory(owner=owner, quota_account=key.quota_account, queued=True)
    usage.charge(key.quota_account_id, owner.pk, audio_seconds=30, tasks=1)
    client = client_with(key.secret)
    client.get(USAGE)

    response = client.get(USAGE)

    limits = response.json()["limits"]
    assert limits["requests"] == {"limit": 10, "remaining": 8, "reset_seconds": 12}
    assert response.headers["RateLimit-Remaining"] == "8"
    audio = limits["audio_seconds"]
    assert (audio["limit"], audio["used"], audio["remaining"]) == (100, 30.0, 70.0)
    assert limits["unfinished_tasks"] == {"limit": 3, "used": 1, "remaining": 2}
    assert limits["highest_priority"] == "low"


def test_nothing_is_left_below_nothing(owner):
    key = ApiKeyFactory(owner=owner, audio_seconds_per_day=10, unfinished_tasks=1)
    TaskFactory.create_batch(2, owner=owner, quota_account=key.quota_account)
    usage.charge(key.quota_account_id, owner.pk, audio_seconds=30, tasks=1)

    limits = client_with(key.secret).get(USAGE).json()["limits"]

    assert limits["audio_seconds"]["remaining"] == 0
    assert limits["unfinished_tasks"] == {"limit": 1, "used": 2, "remaining": 0}


def test_the_key_and_the_owner_are_added_up_over_thirty_days(
    client, owner, monkeypatch
):
    key = owner.api_keys.get()
    today = usage.today()
    other = QuotaAccountFactory(owner=owner)
    strangers = QuotaAccountFactory()
    for age, seconds in ((30, 1), (29, 10), (0, 100)):
        day = today - timedelta(days=age)
        monkeypatch.setattr(usage, "today", lambda day=day: day)
        usage.charge(key.quota_account_id, owner.pk, audio_seconds=seconds, tasks=1)
        usage.charge(other.pk, owner.pk, audio_seconds=seconds * 1000, tasks=1)
    usage.charge(strangers.pk, strangers.owner_id, audio_seconds=7, tasks=1)
    _, secret = rotate_key(key)

    shown = client_with(secret).get(USAGE).json()

    assert shown["used"] == {"today": used(100, 1), "last_30_days": used(110, 2)}
    assert shown["used_by_owner"] == {
        "today": used(100_100, 2),
        "last_30_days": used(110_110, 4),
    }


def test_a_person_without_a_key_is_told_of_the_default_limits(owner, settings):
    settings.KEY_UNFINISHED_TASKS = 5
    browser = APIClient()
    browser.force_login(owner)
    usage.charge(quota_account_of(owner), owner.pk, audio_seconds=3, tasks=1)

    shown = browser.get(USAGE).json()

    assert shown["key"] is None
    assert shown["limits"]["unfinished_tasks"]["limit"] == 5
    assert shown["used"]["today"] == used(3, 1)


def test_staff_see_the_usage_of_others(owner):
    staff = client_with(ApiKeyFactory(owner=UserFactory(operator=True)).secret)
    usage.charge(
        QuotaAccountFactory(owner=owner).pk, owner.pk, audio_seconds=3, tasks=1
    )

    shown = staff.get(USAGE, {"owner": owner.username}).json()

    assert (shown["owner"], shown["key"]) == (owner.username, None)
    assert shown["used_by_owner"]["today"] == used(3, 1)
    assert shown["used"]["today"] == NOTHING
    unknown = staff.get(USAGE, {"owner": "nobody"})
    assert read_problem(unknown, 400, "invalid")["errors"]["owner"][0]["code"] == (
        "unknown_owner"
    )


def test_others_see_their_own_only(client, owner):
    assert client.get(USAGE, {"owner": owner.username}).status_code == 200
    refused = client.get(USAGE, {"owner": UserFactory().username})

    errors = read_problem(refused, 400, "invalid")["errors"]
    assert errors["owner"][0]["code"] == "staff_only"
    unknown = client.get(USAGE, {"of": "me"})
    errors = read_problem(unknown, 400, "invalid")["errors"]
    assert errors["of"][0]["code"] == "unknown_field"


@pytest.mark.parametrize("name", [["a", "b"], "x" * 151, "a\0b"], ids=repr)
def test_a_name_that_is_none_is_refused(name):
    staff = client_with(ApiKeyFactory(owner=UserFactory(operator=True)).secret)

    read_problem(staff.get(USAGE, {"owner": name}), 400, "invalid")


def test_staff_see_the_usage_of_a_key(owner):
    key = ApiKeyFactory(owner=owner, unfinished_tasks=4)
    usage.charge(key.quota_account_id, owner.pk, audio_seconds=3, tasks=1)
    staff = client_with(
        ApiKeyFactory(owner=UserFactory(operator=True), all_scopes=True).secret
    )

    shown = staff.get(f"/api/v1/keys/{key.public_id}/usage/").json()

    assert (shown["owner"], shown["key"]) == (owner.username, str(key.public_id))
    assert shown["used"]["today"] == used(3, 1)
    assert shown["limits"]["unfinished_tasks"]["remaining"] == 4


def test_usage_asks_the_database_a_few_things_however_much_there_is(
    client, owner, django_assert_num_queries
):
    for account in QuotaAccountFactory.create_batch(50, owner=owner):
        usage.charge(account.pk, owner.pk, audio_seconds=1, tasks=1)
    client.get(USAGE)

    with django_assert_num_queries(6):
        client.get(USAGE)
