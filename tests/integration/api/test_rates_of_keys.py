"""Rates of requests: what counts for whom, and what its answer tells."""

from __future__ import annotations

import pytest
import requests
from rest_framework.test import APIClient

from accounts.keys import limit_key, rotate_key
from accounts.throttling import LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER
from tests.integration.api.conftest import TASKS, client_with
from tests.integration.api.operations import OPERATIONS
from tests.integration.api.test_permissions import call, documented
from tests.integration.databases import in_threads
from tests.support.factories import ApiKeyFactory, UserFactory
from tests.support.problems import read_problem
from tests.support.waiting import patient
from tests.support.web import running_web

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]

HEADERS = (LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER)


@pytest.fixture
def key(owner):
    return ApiKeyFactory(owner=owner, requests_per_minute=3)


def rate_headers(response) -> list[int]:
    return [int(response.headers[name]) for name in HEADERS]


def ask(client: APIClient, times: int) -> list[int]:
    return [client.get(TASKS).status_code for _ in range(times)]


def test_a_key_with_a_rate_is_told_where_it_is_and_held_to_it(key):
    client = client_with(key.secret)

    first, second, third = (client.get(TASKS) for _ in range(3))
    refused = client.get(TASKS)

    assert rate_headers(first) == [3, 2, 20]
    assert rate_headers(second) == [3, 1, 40]
    assert rate_headers(third) == [3, 0, 60]
    read_problem(refused, 429, "rate_limit_exceeded")
    assert rate_headers(refused) == [3, 0, 60]
    assert int(refused.headers["Retry-After"]) == 20


def test_a_key_without_a_rate_gets_no_headers_and_asks_no_redis(
    client, broker, settings
):
    client.get(TASKS)
    broker.client.config_resetstat()

    response = client.get(TASKS)

    assert not [name for name in HEADERS if name in response.headers]
    assert "cmdstat_evalsha" not in broker.client.info("commandstats")


def test_an_answer_that_is_an_error_tells_it_too(key):
    client = client_with(key.secret)

    missing = client.get(f"{TASKS}00000000-0000-4000-8000-000000000000/")

    read_problem(missing, 404, "not_found")
    assert rate_headers(missing) == [3, 2, 20]


def test_the_default_counts_for_a_key_without_a_rate_of_its_own(
    client, key, owner, settings
):
    settings.KEY_REQUESTS_PER_MINUTE = 1
    exempt = ApiKeyFactory(owner=owner, requests_per_minute=0)

    assert ask(client, 2) == [200, 429]
    # Each key for itself.
    assert ask(client_with(key.secret), 2) == [200, 200]
    assert ask(client_with(exempt.secret), 5) == [200] * 5


def test_a_rotated_key_goes_on_where_the_old_one_was(key):
    old = client_with(key.secret)
    assert ask(old, 2) == [200, 200]

    new, secret = rotate_key(key)
    _, newest_secret = rotate_key(new)

    assert ask(client_with(newest_secret), 2) == [200, 429]
    assert ask(client_with(secret), 1) == ask(old, 1) == [429]


def test_a_change_of_the_rate_holds_from_the_next_request_on(key):
    client = client_with(key.secret)
    assert ask(client, 4)[-1] == 429

    limit_key(key, {"requests_per_minute": 0})
    assert ask(client, 1) == [200]

    limit_key(key, {"requests_per_minute": 6})
    # The three that were used took a minute's half at the new pace.
    assert rate_headers(client.get(TASKS))[0] == 6


def test_an_owner_without_a_key_counts_apart_from_keys(owner, key, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 2
    browser, other = APIClient(), APIClient()
    browser.force_login(owner)
    other.force_login(UserFactory())

    assert ask(browser, 3) == [200, 200, 429]
    assert ask(other, 1) == [200]
    assert ask(client_with(key.secret), 1) == [200]


def test_open_mode_has_the_default_rate(stranger, settings):
    settings.OPEN_MODE = True
    settings.KEY_REQUESTS_PER_MINUTE = 1

    assert ask(stranger, 2) == [200, 429]


def test_a_refused_key_does_not_count(owner, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 1
    reader = client_with(ApiKeyFactory(owner=owner, scope="read").secret)

    refused = [reader.post(TASKS, {}) for _ in range(2)]

    for response in refused:
        read_problem(response, 403, "insufficient_scope")
    assert ask(reader, 1) == [200]
    # The document is public.
    assert reader.get("/api/v1/schema/").status_code == 200


def test_redis_away_refuses_nobody_and_still_counts(key, point_at_broker, settings):
    point_at_broker(f"redis+socket://{settings.DATA_DIR}/none.sock?virtual_host=0")
    client = client_with(key.secret)

    assert ask(client, 4) == [200, 200, 200, 429]


@pytest.mark.django_db(transaction=True)
def test_many_requests_at_once_to_a_real_server_get_no_more_than_the_rate(
    media_root, broker_server
):
    key = ApiKeyFactory(requests_per_minute=10)
    with running_web(media_root, broker_server) as address:

        def get() -> requests.Response:
            return requests.get(
                f"{address}{TASKS}",
                headers={"Authorization": f"Bearer {key.secret}"},
                timeout=patient(60),
            )

        answers = in_threads([get] * 25)

    allowed = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    # One comes back in six seconds.
    assert 10 <= len(allowed) <= 12
    assert len(allowed) + len(refused) == 25
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"10"}
    assert all(1 <= int(answer.headers["Retry-After"]) <= 6 for answer in refused)


@pytest.mark.one_database
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_held_to_the_rate(name, no_hints):
    owner = UserFactory(is_staff=True)
    key = ApiKeyFactory(owner=owner, all_scopes=True, requests_per_minute=1)
    client = client_with(key.secret)
    ask(client, 1)

    target = OPERATIONS[name].target
    response = call(client, name, target(owner) if target else {})

    read_problem(response, 429, "rate_limit_exceeded")


def test_the_document_tells_of_the_rate_with_each_operation():
    for name, operation in documented().items():
        refused = operation["responses"]["429"]
        assert "rate_limit_exceeded" in refused["description"], name
        assert set(refused["headers"]) >= {*HEADERS, "Retry-After"}, name
        for code, response in operation["responses"].items():
            if code.startswith("2"):
                assert set(HEADERS) <= set(response["headers"]), name
