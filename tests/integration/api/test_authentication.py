"""Who may use the API, and what the others are told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, digest_of
from tests.integration.api.conftest import TASKS, client_with
from tests.support.factories import ApiKeyFactory, TaskFactory, UserFactory
from tests.support.problems import read_problem

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer whk_unknown",
        "Bearer a b",
        "Bearer \xe9",
        "bearer x",
    ],
    ids=repr,
)
def test_a_wrong_key_opens_nothing(stranger, header):
    response = stranger.get(TASKS, HTTP_AUTHORIZATION=header)

    read_problem(response, 401, "invalid_api_key")


def test_another_scheme_is_no_key(stranger):
    response = stranger.get(TASKS, HTTP_AUTHORIZATION="Basic dTpw")

    read_problem(response, 401, "not_authenticated")


def test_the_scheme_may_be_written_in_any_case(stranger):
    key = ApiKeyFactory()

    response = stranger.get(TASKS, HTTP_AUTHORIZATION=f"bEARER {key.secret}")

    assert response.status_code == 200


def test_a_key_may_expire_later():
    key = ApiKeyFactory(expires_at=timezone.now() + timedelta(minutes=1))

    assert client_with(key.secret).get(TASKS).status_code == 200


def test_the_digest_alone_is_stored():
    key, secret = ApiKey.issue(UserFactory(), "tests")

    row = ApiKey.objects.values().get()
    assert secret.startswith("whk_")
    assert len(secret) > 40
    assert row["digest"] == digest_of(secret)
    assert row["prefix"] == secret[:12]
    assert secret not in str(row)
    assert client_with(secret).get(TASKS).status_code == 200
    assert str(key) == f"tests ({secret[:12]}…)"


def test_the_last_use_is_noted_at_most_once_a_minute(django_assert_num_queries):
    key = ApiKeyFactory()
    client = client_with(key.secret)

    client.get("/api/v1/models/")
    key.refresh_from_db()
    first = key.last_used_at
    assert timezone.now() - first < timedelta(minutes=1)

    client.get("/api/v1/models/")
    key.refresh_from_db()
    assert key.last_used_at == first

    ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    client.get("/api/v1/models/")
    key.refresh_from_db()
    assert key.last_used_at > first - timedelta(minutes=2)


def test_a_person_signed_in_may_read_the_api(db):
    user = UserFactory()
    TaskFactory(owner=user)
    browser = Client()
    browser.force_login(user)

    assert browser.get(TASKS).json()["total_count"] == 1


def test_a_browser_cannot_be_made_to_submit_from_elsewhere(db):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(UserFactory())

    read_problem(browser.post(TASKS, {}), 403, "permission_denied")


def test_the_health_page_asks_for_no_key(stranger):
    response = stranger.get("/healthz")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
