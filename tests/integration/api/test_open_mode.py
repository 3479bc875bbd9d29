"""Requests without a key, where the operator wants them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.authentication import ANYBODY
from accounts.models import User
from tests.integration.api.conftest import TASKS, client_with
from tests.integration.api.operations import recording
from tests.support.factories import ApiKeyFactory, TaskFactory, UserFactory
from tests.support.problems import read_problem
from transcription.models import TranscriptionTask
from whisperhub.network.proxies import FORWARDED
from whisperhub.web.openapi_documents import documents

pytestmark = pytest.mark.django_db

KEYS = "/api/v1/keys/"


@pytest.fixture
def open_mode(settings) -> Iterator[None]:
    settings.OPEN_MODE = True
    # The setting changes with a new process only, and a process keeps its documents.
    documents.forget()
    yield
    documents.forget()


@pytest.fixture
def submit(stranger: APIClient, no_hints: list[int]) -> Any:
    """Send a recording without a key, with these headers."""
    return lambda **headers: stranger.post(
        TASKS, recording(), format="multipart", headers=headers
    )


def test_without_the_setting_a_key_is_needed(submit):
    read_problem(submit(), 401, "not_authenticated")

    assert not User.objects.filter(username=ANYBODY).exists()


def test_a_program_of_this_machine_needs_no_key(open_mode, stranger, submit):
    TaskFactory()

    submitted = submit()

    assert submitted.status_code == 201
    assert stranger.get(TASKS).json()["total_count"] == 1
    task = TranscriptionTask.objects.get(public_id=submitted.json()["id"])
    assert task.owner.username == ANYBODY
    assert not task.owner.is_staff
    assert not task.owner.has_usable_password()
    assert stranger.delete(f"{TASKS}{task.public_id}/").status_code == 204


@pytest.mark.parametrize("address", ["192.168.1.7", "::ffff:192.168.1.7", ""])
def test_another_machine_needs_a_key(open_mode, stranger, address):
    response = stranger.get(TASKS, REMOTE_ADDR=address)

    read_problem(response, 401, "not_authenticated")


def test_what_a_proxy_passed_on_needs_a_key(open_mode, stranger):
    response = stranger.get(TASKS, **{FORWARDED: True})

    read_problem(response, 401, "not_authenticated")


def test_keys_cannot_be_managed_without_one(open_mode, stranger):
    stranger.get(TASKS)
    User.objects.filter(username=ANYBODY).update(is_staff=True)

    read_problem(stranger.get(KEYS), 403, "insufficient_scope")


def test_a_wrong_key_is_still_refused(open_mode):
    read_problem(client_with("whk_x").get(TASKS), 401, "invalid_api_key")


def test_who_has_a_key_or_a_session_is_known_by_it(open_mode, stranger):
    owner = UserFactory()
    TaskFactory(owner=owner)

    by_key = client_with(ApiKeyFactory(owner=owner).secret).get(TASKS)
    stranger.force_login(owner)
    by_session = stranger.get(TASKS)

    assert by_key.json()["total_count"] == by_session.json()["total_count"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
    ],
    ids=str,
)
def test_a_page_of_another_site_cannot_submit(open_mode, submit, headers):
    read_problem(submit(**headers), 403, "cross_site_request")

    assert not TranscriptionTask.objects.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_the_service_s_own_page_can(open_mode, submit, headers):
    assert submit(**headers).status_code == 201


def test_the_common_account_can_be_closed(open_mode, stranger):
    stranger.get(TASKS)
    User.objects.filter(username=ANYBODY).update(is_active=False)

    read_problem(stranger.get(TASKS), 401, "not_authenticated")


def test_the_document_says_that_no_key_is_needed(open_mode, stranger):
    document = stranger.get(
        "/api/v1/schema/", headers={"Accept": "application/vnd.oai.openapi+json"}
    ).json()

    assert document["paths"][TASKS]["post"]["security"][-1] == {}
