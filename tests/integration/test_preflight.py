"""What a request is told before its body is read, and that nothing comes of asking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core import signals
from django.db import close_old_connections

from accounts.models import ApiKey
from accounts.scopes import Scope
from accounts.throttling import rate_name
from tests.support.factories import ApiKeyFactory, TaskFactory, UserFactory
from tests.support.problems import check_problem
from transcription.models import TranscriptionTask
from whisperhub import rates
from whisperhub.web.admission import PreflightHandler
from whisperhub.web.preflight import Preflight

pytestmark = pytest.mark.django_db

TASKS = "/api/v1/tasks/"


@pytest.fixture(autouse=True)
def kept_connection() -> Iterator[None]:
    """A request leaves the connection with the test's transaction alone."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


class Asked:
    """What came of asking about a request."""

    def __init__(self, preflight: Preflight, response: Any) -> None:
        self.is_passed, self.is_known = preflight.is_passed, preflight.is_known
        self.status = response.status_code
        self.headers = response.headers
        self.content = response.content
        response.close()

    def check_problem(self, status: int, code: str) -> None:
        assert not self.is_passed
        check_problem(json.loads(self.content), status, code)


def ask(path: str, method: str = "POST", **headers: str) -> Asked:
    given = {"Host": "localhost", "Content-Length": "1000000", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [
            (name.replace("_", "-").lower().encode(), value.encode())
            for name, value in given.items()
        ],
    }
    return Asked(*PreflightHandler().ask(scope))


def with_key(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def session_of(user: Any) -> dict[str, str]:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return {"Cookie": f"sessionid={session.session_key}"}


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data"])
@pytest.mark.parametrize("path", [TASKS, "/api/v1/detect-language/"])
def test_a_good_key_passes_and_no_view_runs(path, content_type):
    asked = ask(path, Content_Type=content_type, **with_key(ApiKeyFactory().secret))

    assert asked.is_passed
    assert asked.is_known
    assert not TranscriptionTask.objects.exists()


@pytest.mark.parametrize(
    "path",
    [TASKS, f"{TASKS}00000000-0000-0000-0000-000000000000/cancel/", "/api/v1/keys/"],
)
def test_without_a_key_nothing_of_the_api_passes(path):
    ask(path).check_problem(401, "not_authenticated")


def test_a_key_without_the_scope_does_not_pass():
    _key, secret = ApiKey.issue(UserFactory(), "reads", scopes=[Scope.READ])

    ask(TASKS, **with_key(secret)).check_problem(403, "insufficient_scope")


def test_a_method_that_is_not_there_does_not_pass():
    asked = ask(TASKS, "PUT", **with_key(ApiKeyFactory().secret))

    asked.check_problem(405, "method_not_allowed")
    assert "POST" in asked.headers["Allow"]


def test_an_address_that_is_not_there_does_not_pass():
    ask("/api/v1/nothing/").check_problem(404, "not_found")


def test_a_wrong_host_does_not_pass():
    assert ask(TASKS, Host="evil.example").status == 400


def test_a_rate_that_is_used_up_does_not_pass_and_asking_uses_none(broker):
    key = ApiKeyFactory(requests_per_minute=1)

    before = [ask(TASKS, **with_key(key.secret)).is_passed for _ in range(3)]
    rates.take(rate_name(key.quota_account_id), rates.Rate(1, 60))
    after = ask(TASKS, **with_key(key.secret))

    assert before == [True] * 3
    after.check_problem(429, "rate_limit_exceeded")
    assert int(after.headers["Retry-After"]) > 0


def test_a_key_without_room_for_a_task_does_not_pass():
    key = ApiKeyFactory(unfinished_tasks=1)
    TaskFactory(owner=key.owner, quota_account=key.quota_account)

    full = ask(TASKS, **with_key(key.secret))
    # It may have made its task before.
    again = ask(TASKS, Idempotency_Key="one", **with_key(key.secret))
    other = ask("/api/v1/callbacks/test/", **with_key(key.secret))

    full.check_problem(429, "queue_quota_exceeded")
    assert again.is_passed
    assert other.is_passed


def test_a_session_passes_without_its_token_which_may_stand_in_the_body():
    asked = ask(TASKS, **session_of(UserFactory()))

    assert asked.is_passed
    assert asked.is_known


@pytest.mark.parametrize("path", ["/login/", "/admin/login/", "/admin/accounts/user/"])
def test_a_page_passes_for_a_stranger_who_stays_one(path):
    asked = ask(path)

    assert asked.is_passed
    assert not asked.is_known


def test_a_form_of_the_admin_passes_for_who_is_signed_in():
    asked = ask("/admin/accounts/user/add/", **session_of(UserFactory(is_staff=True)))

    assert asked.is_passed
    assert asked.is_known


def test_open_mode_needs_no_key(settings):
    settings.OPEN_MODE = True

    asked = ask(TASKS)

    assert asked.is_passed
    assert asked.is_known


def test_a_refusal_is_in_the_clients_language():
    asked = ask(TASKS, Accept_Language="zh-CN")

    assert asked.headers["Content-Language"] == "zh-hans"
    assert ApiKey.objects.count() == 0
