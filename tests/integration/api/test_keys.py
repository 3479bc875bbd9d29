"""API keys over the API, and what of a secret is left behind."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework.test import APIClient

from accounts.models import ApiKey, User, digest_of
from tests.integration.api.conftest import TASKS, client_with
from tests.integration.api.operations import recording
from tests.support.factories import ApiKeyFactory, UserFactory
from tests.support.problems import read_problem

pytestmark = pytest.mark.django_db

KEYS = "/api/v1/keys/"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def owner(db: None) -> User:
    user: User = UserFactory(operator=True)
    return user


@pytest.fixture
def client(owner: User) -> APIClient:
    """A client whose key may do everything."""
    return client_with(ApiKeyFactory(owner=owner, name="mine", all_scopes=True).secret)


def test_a_key_is_made_and_works(client, owner):
    response = client.post(KEYS, {"name": "captions"})

    made = response.json()
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Location"].endswith(f"{KEYS}{made['id']}/")
    key = ApiKey.objects.get(digest=digest_of(made["secret"]))
    assert key.owner == owner
    assert made["prefix"] == made["secret"][:12]
    assert (made["name"], made["scopes"]) == ("captions", ["read", "write"])
    assert (made["state"], made["expires_at"]) == ("active", None)
    assert (made["replaced_by"], made["last_used_at"]) == (None, None)
    assert MOMENT.fullmatch(made["created_at"])
    assert client_with(made["secret"]).get(TASKS).status_code == 200


def test_scopes_and_expiry_are_as_asked(client):
    made = client.post(
        KEYS,
        {
            "name": "inbox",
            "scopes": ["write", "write"],
            "expires_at": "2999-01-31T12:00:00+02:00",
        },
    ).json()

    assert made["scopes"] == ["write"]
    assert made["expires_at"] == "2999-01-31T10:00:00.000000Z"


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"name": None}, "name", "null"),
        ({"name": ""}, "name", "blank"),
        ({"name": "x" * 101}, "name", "max_length"),
        ({"scopes": []}, "scopes", "empty"),
        ({"scopes": "read"}, "scopes", "not_a_list"),
        ({"scopes": ["root"]}, "scopes.0", "invalid_choice"),
        ({"expires_at": "2020-01-31T00:00:00Z"}, "expires_at", "in_the_past"),
        ({"expires_at": "soon"}, "expires_at", "invalid"),
        ({"owner": "nobody"}, "owner", "unknown_owner"),
        ({"owner": "a\0b"}, "owner", "null_characters_not_allowed"),
        ({"owner": "x" * 151}, "owner", "max_length"),
        ({"color": "red"}, "color", "unknown_field"),
        ({"limits": 3}, "limits.non_field_errors", "invalid"),
        ({"limits": {"pages": 1}}, "limits.pages", "unknown_field"),
        (
            {"limits": {"unfinished_tasks": -1}},
            "limits.unfinished_tasks",
            "min_value",
        ),
        (
            {"limits": {"requests_per_minute": 1_000_001}},
            "limits.requests_per_minute",
            "max_value",
        ),
        (
            {"limits": {"highest_priority": "urgent"}},
            "limits.highest_priority",
            "invalid_choice",
        ),
    ],
    ids=str,
)
def test_a_request_that_makes_no_sense_is_refused(client, fields, field, code):
    response = client.post(KEYS, {"name": "captions", **fields})

    errors = read_problem(response, 400, "invalid")["errors"]
    assert errors[field][0]["code"] == code
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("body", [[], "x", 7, None, {"name": ["a"]}], ids=str)
def test_a_body_of_another_shape_is_refused(client, body):
    read_problem(client.post(KEYS, body), 400, "invalid")


def test_the_secret_is_shown_once(client):
    made = client.post(KEYS, {"name": "captions"}).json()

    later = [client.get(KEYS), client.get(f"{KEYS}{made['id']}/")]

    for response in later:
        assert made["secret"] not in response.content.decode()
    assert set(made) - {"secret"} == set(later[1].json())


def test_secrets_reach_no_log(client, caplog):
    caplog.set_level("DEBUG")
    made = client.post(KEYS, {"name": "captions"}).json()
    new = client.post(f"{KEYS}{made['id']}/rotate/", {}).json()
    client_with(new["secret"]).get(f"{KEYS}{made['id']}/")
    client_with(f"{new['secret']}x").get(TASKS)

    logged = caplog.text + "".join(
        path.read_text() for path in Path(settings.LOG_DIR).glob("*")
    )

    # The last two requests were refused, and that is logged.
    assert "Unauthorized" in logged
    for secret in (made["secret"], new["secret"]):
        assert secret not in logged


def test_own_keys_are_listed_newest_first(client, owner):
    ApiKeyFactory()
    ApiKeyFactory(owner=owner, name="old", expired=True)
    ApiKeyFactory(owner=owner, name="shut", revoked=True)

    def names(**query: Any) -> list[str]:
        return [key["name"] for key in client.get(KEYS, query).json()["results"]]

    assert names() == ["shut", "old", "mine"]
    assert names(limit=1, offset=1) == ["old"]
    assert names(state="active") == ["mine"]
    assert names(state="expired") == ["old"]
    assert names(state="revoked") == ["shut"]
    read_problem(client.get(KEYS, {"state": "lost"}), 400, "invalid")


def test_the_list_asks_the_same_for_many_rows(client, owner, django_assert_num_queries):
    client.get(KEYS)
    for _ in range(5):
        replaced_by = ApiKeyFactory(owner=owner)
        ApiKeyFactory(owner=owner, replaced_by=replaced_by)

    with django_assert_num_queries(3):
        client.get(KEYS)


def test_a_key_is_replaced(client, owner):
    key = ApiKeyFactory(owner=owner, scope="read")

    response = client.post(f"{KEYS}{key.public_id}/rotate/", {"overlap_seconds": 60})

    new = response.json()
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    old = client.get(f"{KEYS}{key.public_id}/").json()
    assert old["replaced_by"] == new["id"]
    end = parse_datetime(old["expires_at"])
    assert end is not None
    assert timedelta(0) < end - timezone.now() < timedelta(seconds=61)
    for secret in (key.secret, new["secret"]):
        assert client_with(secret).get(TASKS).status_code == 200
    again = client.post(f"{KEYS}{key.public_id}/rotate/")
    read_problem(again, 409, "key_not_rotatable")


@pytest.mark.parametrize("seconds", [-1, 90 * 86_400 + 1, "soon", None], ids=str)
def test_an_overlap_has_bounds(client, owner, seconds):
    key = ApiKeyFactory(owner=owner)

    response = client.post(
        f"{KEYS}{key.public_id}/rotate/", {"overlap_seconds": seconds}
    )

    read_problem(response, 400, "invalid")
    assert ApiKey.objects.filter(replaced_by=None).count() == 2


def test_a_key_can_replace_itself(owner):
    key = ApiKeyFactory(owner=owner, all_scopes=True)
    client = client_with(key.secret)

    new = client.post(f"{KEYS}{key.public_id}/rotate/", {"overlap_seconds": 0}).json()

    read_problem(client.get(KEYS), 401, "api_key_expired")
    assert client_with(new["secret"]).get(KEYS).status_code == 200


def test_a_revoked_key_stays_in_the_list(client, owner):
    key = ApiKeyFactory(owner=owner)

    first = client.post(f"{KEYS}{key.public_id}/revoke/")
    again = client.post(f"{KEYS}{key.public_id}/revoke/")

    assert first.status_code == again.status_code == 200
    assert first.json()["state"] == "revoked"
    assert again.json()["revoked_at"] == first.json()["revoked_at"]
    read_problem(client_with(key.secret).get(TASKS), 401, "api_key_revoked")


def test_a_deleted_key_is_gone(client, owner):
    key = ApiKeyFactory(owner=owner)

    assert client.delete(f"{KEYS}{key.public_id}/").status_code == 204

    read_problem(client.get(f"{KEYS}{key.public_id}/"), 404, "not_found")
    read_problem(client_with(key.secret).get(TASKS), 401, "invalid_api_key")


# --- Limits, and keys of others ------------------------------------------------------

NO_LIMITS = dict.fromkeys(
    (
        "requests_per_minute",
        "audio_seconds_per_day",
        "unfinished_tasks",
        "highest_priority",
    )
)


def test_a_key_is_made_with_limits(client):
    limits = {
        "requests_per_minute": 60,
        "unfinished_tasks": 0,
        "highest_priority": "Low",
    }

    plain = client.post(KEYS, {"name": "plain"}).json()
    limited = client.post(KEYS, {"name": "limited", "limits": limits}).json()

    assert plain["limits"] == NO_LIMITS
    assert limited["limits"] == NO_LIMITS | limits | {"highest_priority": "low"}
    assert client.get(f"{KEYS}{limited['id']}/").json()["limits"] == limited["limits"]


def test_limits_are_changed_one_by_one_and_hold_after_a_rotation(client, owner):
    key = ApiKeyFactory(owner=owner, unfinished_tasks=5, highest_priority="low")
    address = f"{KEYS}{key.public_id}/"
    new = client.post(f"{address}rotate/").json()

    changed = client.patch(
        address, {"limits": {"requests_per_minute": 9, "highest_priority": None}}
    )

    assert changed.status_code == 200
    expected = NO_LIMITS | {"requests_per_minute": 9, "unfinished_tasks": 5}
    assert changed.json()["limits"] == expected
    assert client.get(f"{KEYS}{new['id']}/").json()["limits"] == expected


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "limits", "required"),
        ({"limits": None}, "limits", "null"),
        ({"limits": {}, "name": "x"}, "name", "unknown_field"),
        (
            {"limits": {"unfinished_tasks": "many"}},
            "limits.unfinished_tasks",
            "invalid",
        ),
    ],
    ids=str,
)
def test_a_change_that_makes_no_sense_changes_nothing(client, owner, body, field, code):
    key = ApiKeyFactory(owner=owner, unfinished_tasks=5)

    response = client.patch(f"{KEYS}{key.public_id}/", body)

    errors = read_problem(response, 400, "invalid")["errors"]
    assert errors[field][0]["code"] == code
    key.refresh_from_db()
    assert key.unfinished_tasks == 5


@pytest.mark.parametrize(
    "body",
    [[], "x", 7, None, {"limits": []}, {"limits": {"highest_priority": ["low"]}}],
    ids=str,
)
def test_a_change_of_another_shape_is_refused(client, owner, body):
    key = ApiKeyFactory(owner=owner)

    read_problem(client.patch(f"{KEYS}{key.public_id}/", body), 400, "invalid")


@pytest.mark.parametrize("name", ["a\0b", "x" * 151, "ü" * 150], ids=ascii)
def test_a_name_that_nobody_has_lists_nothing(client, name):
    read_problem(client.get(KEYS, {"owner": name}), 400, "invalid")


@pytest.mark.parametrize("name", [["a"], {"a": 1}, True, "", None], ids=ascii)
def test_an_owner_that_is_no_name_is_refused(client, name):
    read_problem(client.post(KEYS, {"name": "x", "owner": name}), 400, "invalid")


def test_half_a_character_is_no_owner(client):
    body = r'{"name": "x", "owner": "\ud800"}'

    response = client.post(KEYS, body, content_type="application/json")

    read_problem(response, 400, "invalid")


def test_staff_make_list_and_shut_keys_of_others(client):
    other = UserFactory(username="bob")

    made = client.post(KEYS, {"name": "his", "owner": "bob"}).json()

    assert made["owner"] == "bob"
    assert ApiKey.objects.get(digest=digest_of(made["secret"])).owner == other
    mine = [key["name"] for key in client.get(KEYS).json()["results"]]
    his = client.get(KEYS, {"owner": "bob"}).json()["results"]
    assert (mine, [key["name"] for key in his]) == (["mine"], ["his"])
    address = f"{KEYS}{made['id']}/"
    rotated = client.post(f"{address}rotate/").json()
    assert rotated["owner"] == "bob"
    assert client.post(f"{address}revoke/").json()["state"] == "revoked"
    assert client.delete(f"{KEYS}{rotated['id']}/").status_code == 204
    errors = read_problem(client.get(KEYS, {"owner": "carl"}), 400, "invalid")["errors"]
    assert errors["owner"][0]["code"] == "unknown_owner"


def test_a_key_for_another_has_the_scopes_that_its_owner_may_have(client):
    UserFactory(username="bob")
    body = {"name": "his", "owner": "bob", "scopes": ["admin"]}

    errors = read_problem(client.post(KEYS, body), 400, "invalid")["errors"]

    assert errors["scopes"][0]["code"] == "staff_only"


# --- Sessions ------------------------------------------------------------------------


@pytest.fixture
def person(db: None) -> User:
    """Somebody with a password, who is no staff."""
    user: User = UserFactory(username="ann")
    user.set_password("long enough")
    user.save()
    return user


def test_a_person_signs_in_and_submits_from_the_documentation(person, no_hints):
    browser = Client(enforce_csrf_checks=True)
    form = browser.get("/login/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token

    signed_in = browser.post(
        "/login/",
        {"username": "ann", "password": "long enough", "csrfmiddlewaretoken": token[1]},
    )
    docs = browser.get("/").content.decode()

    assert (signed_in.status_code, signed_in.headers["Location"]) == (302, "/")
    assert "Signed in as ann." in docs
    # `swagger.js` sends this header with each request that changes something.
    header = re.search(r'data-csrf-header="(X-\w+)"', docs, re.IGNORECASE)
    value = re.search(r'data-csrf-token="(\w+)"', docs)
    assert header
    assert value
    without = browser.post(TASKS, recording())
    read_problem(without, 403, "permission_denied")
    submitted = browser.post(TASKS, recording(), headers={header[1]: value[1]})
    assert submitted.status_code == 201
    assert person.tasks.count() == 1


def test_a_wrong_password_signs_nobody_in(person):
    browser = Client()

    response = browser.post("/login/", {"username": "ann", "password": "guess"})

    assert response.status_code == 200
    read_problem(browser.get(TASKS), 401, "not_authenticated")


def test_signing_in_leads_to_no_other_site(person):
    response = Client().post(
        "/login/?next=https://evil.example/",
        {"username": "ann", "password": "long enough"},
    )

    assert response.headers["Location"] == "/"


def test_the_documentation_is_public_and_offers_to_sign_in(stranger):
    html = stranger.get("/").content.decode()

    assert 'href="/login/"' in html
    assert "Signed in as" not in html


def test_signing_out_needs_a_form(person):
    browser = Client()
    browser.force_login(person)

    assert browser.get("/logout/").status_code == 405
    assert browser.get(TASKS).status_code == 200
    assert browser.post("/logout/").headers["Location"] == "/"
    read_problem(browser.get(TASKS), 401, "not_authenticated")


def test_of_many_bad_entries_of_a_list_few_are_named(client):
    response = client.post(KEYS, {"name": "x", "scopes": ["root"] * 900})

    errors = read_problem(response, 400, "invalid")["errors"]
    assert "scopes.0" in errors
    assert len(errors) <= 50
