"""Flower as the stack starts it: nothing without the password or by another name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.fleet import START_SECONDS, Worker
from tests.support.waiting import patient, wait_for
from workers.stack import free_port

USER, PASSWORD = "operator", "a:password"


@pytest.fixture(scope="module")
def flower(tmp_path_factory: Any) -> Iterator[str]:
    """The address of a running Flower."""
    folder = tmp_path_factory.mktemp("flower")
    port = free_port()
    process = Worker(
        [
            *("-m", "workers.viewer", "-A", "whisperhub", "flower"),
            *("--address=127.0.0.1", f"--port={port}", "--read_only=True"),
        ],
        {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "whisperhub.settings",
            "WHISPERHUB_ENV_FILE": os.devnull,
            "WHISPERHUB_DATA_DIR": str(folder),
            "WHISPERHUB_ALLOWED_HOSTS": "queues.example.org,*",
            "WHISPERHUB_BROKER_URL": "memory://",
            "FLOWER_BASIC_AUTH": f"{USER}:{PASSWORD}",
        },
        folder / "flower.log",
    )

    def answers() -> bool:
        assert process.is_running(), process.said()
        try:
            requests.get(f"http://127.0.0.1:{port}/", timeout=patient(5))
        except requests.ConnectionError:
            return False
        return True

    try:
        wait_for(answers, seconds=START_SECONDS, named=process.said)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


def ask(address: str, path: str, *, method: str = "GET", **others: Any) -> Any:
    return requests.request(
        method, address + path, timeout=patient(10), allow_redirects=False, **others
    )


PATHS = [
    *("/", "/workers", "/tasks", "/broker", "/metrics", "/healthcheck", "/login"),
    *("/api/workers", "/api/tasks", "/static/css/flower.css", "/nothing", "//metrics"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
def test_no_address_answers_without_the_password(flower, path, method):
    for auth in (None, (USER, "wrong"), (PASSWORD, USER)):
        answer = ask(flower, path, method=method, auth=auth)

        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert "celery" not in answer.text
        assert "flower_" not in answer.text


@pytest.mark.parametrize("path", ["/workers", "/metrics", "/healthcheck"])
def test_who_has_the_password_gets_in(flower, path):
    assert ask(flower, path, auth=(USER, PASSWORD)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthcheck", "/api/workers"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:5555", "a@b", ""])
def test_no_address_answers_under_another_name(flower, path, host):
    answer = ask(flower, path, auth=(USER, PASSWORD), headers={"Host": host})

    assert answer.status_code == 400
    assert "flower_" not in answer.text


@pytest.mark.parametrize(
    "host", ["localhost:5555", "127.0.0.1", "[::1]:5555", "queues.example.org"]
)
def test_names_of_this_machine_and_of_the_setting_are_known(flower, host):
    answer = ask(flower, "/metrics", auth=(USER, PASSWORD), headers={"Host": host})

    assert answer.status_code == 200
    assert "python_info" in answer.text


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic w6k=", "Bearer x"])
def test_an_authorization_that_is_none_is_refused(flower, header):
    answer = ask(flower, "/metrics", headers={"Authorization": header})

    assert answer.status_code == 401
