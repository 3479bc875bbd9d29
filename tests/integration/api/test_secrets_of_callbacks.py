"""The secret that signs callbacks: shown to its owner alone, and replaced on demand."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from tests.support.factories import CallbackSecretFactory
from tests.support.problems import read_problem
from transcription.models import CallbackSecret
from transcription.services import callback_secrets

pytestmark = pytest.mark.django_db

SECRET = "/api/v1/callbacks/secret/"
ROTATE = "/api/v1/callbacks/secret/rotate/"


def valid(owner: User) -> list[str]:
    return [row.secret for row in callback_secrets.secrets_of(owner.pk)]


def test_an_owner_reads_and_replaces_the_secret(client, owner):
    shown = client.get(SECRET)

    assert shown.status_code == 200
    assert shown.headers["Cache-Control"] == "no-store"
    assert set(shown.json()) == {"secret", "created_at", "former"}
    assert [shown.json()["secret"]] == valid(owner)
    assert shown.json()["former"] == []

    replaced = client.post(ROTATE)

    assert replaced.status_code == 200
    assert replaced.headers["Cache-Control"] == "no-store"
    body = replaced.json()
    assert [body["secret"], shown.json()["secret"]] == valid(owner)
    (former,) = body["former"]
    assert set(former) == {"prefix", "created_at", "expires_at"}
    assert shown.json()["secret"].startswith(former["prefix"])
    assert len(former["prefix"]) < 12
    assert client.get(SECRET).json() == body


def test_to_rotate_too_often_is_refused(client, owner):
    for number in range(1, callback_secrets.MOST_VALID):
        CallbackSecretFactory(owner=owner, number=number, former=True)
    CallbackSecretFactory(owner=owner, number=callback_secrets.MOST_VALID)

    read_problem(client.post(ROTATE), 409, "too_many_secrets")


@pytest.mark.parametrize(("method", "address"), [("get", SECRET), ("post", ROTATE)])
def test_nobody_else_gets_it(stranger, method, address):
    answer: Any = getattr(stranger, method)(address)

    assert answer.status_code == 401
    assert not CallbackSecret.objects.exists()


def test_reading_does_not_rotate(client):
    read_problem(client.get(ROTATE), 405, "method_not_allowed")
