"""`callback_url` in a request: which addresses are taken, and how they are shown."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.integration.api.conftest import TASKS
from tests.support.factories import TaskFactory
from tests.support.problems import read_problem
from transcription.models import TranscriptionTask

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/hook",
        "http://example.org",
        "HTTPS://EXAMPLE.ORG:8443/a?b=c&d=%20",
        "http://receiver:9000/inside/a/network",
        "http://localhost/",
        "http://192.0.2.1/",
        "http://[2001:db8::1]:8080/",
        "https://例え.example/パス",
        "https://example.org/" + "a" * (2048 - 20),
    ],
    ids=lambda url: url[:30],
)
def test_an_address_is_kept_as_it_was_given(submit, client, url):
    response = submit(callback_url=url)

    assert response.status_code == 201, response.content
    body = response.json()
    assert body["callback_url"] == url
    assert TranscriptionTask.objects.get().callback_url == url
    assert client.get(body["links"]["self"]).json()["callback_url"] == url


@pytest.mark.parametrize("fields", [{}, {"callback_url": ""}], ids=str)
def test_an_address_may_be_left_out(submit, fields):
    assert submit(**fields).json()["callback_url"] == ""


REFUSED = [
    "example.org/hook",
    "//example.org/hook",
    "ftp://example.org/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "http://",
    "http:///path",
    "https://:443/",
    "http://example.org:0/",
    "http://example.org:65536/",
    "http://example.org:port/",
    "http://user:password@example.org/",
    "http://user@example.org/",
    "http://@example.org/",
    "http://example.org/#part",
    "http://example.org/a b",
    "http://exam\tple.org/",
    "http://good.example\\@evil.example/",
    "http://[::1",
    "http://*.example.org/",
    f"http://{'a' * 64}.example.org/",
    "http://a\u202eb.example/",
    "https://example.org/" + "a" * (2049 - 20),
]


@pytest.mark.one_database
@pytest.mark.parametrize("url", REFUSED, ids=lambda url: ascii(url)[:40])
def test_an_address_that_nothing_can_be_sent_to_is_refused(submit, url):
    body = read_problem(submit(callback_url=url), 400, "invalid")

    (error,) = body["errors"].pop("callback_url")
    assert error["code"] == "invalid_callback_url"
    assert error["message"].endswith(".")
    assert body["errors"] == {}
    assert not TranscriptionTask.objects.exists()


@pytest.mark.parametrize("value", [5, True, None, [], {}, ["https://example.org"]])
def test_json_of_another_type_is_refused(client, value):
    request = {"file_url": "https://example.org/a.mp3", "callback_url": value}

    body = read_problem(client.post(TASKS, request, format="json"), 400, "invalid")

    assert list(body["errors"]) == ["callback_url"]


def test_json_is_checked_too(client):
    request = {"file_url": "https://example.org/a.mp3", "callback_url": "nowhere"}

    body = read_problem(client.post(TASKS, request, format="json"), 400, "invalid")

    assert body["errors"]["callback_url"][0]["code"] == "invalid_callback_url"


def test_a_detection_that_waits_takes_no_address(client, no_hints):
    upload = SimpleUploadedFile("a.wav", b"sound")

    response = client.post(
        "/api/v1/detect-language/",
        {"file": upload, "callback_url": "https://example.org/"},
        format="multipart",
    )

    body = read_problem(response, 400, "invalid")
    assert body["errors"]["callback_url"][0]["code"] == "unknown_field"


def test_the_address_is_in_the_list(client, owner):
    TaskFactory(owner=owner, callback_url="https://example.org/hook")

    (task,) = client.get(TASKS).json()["results"]

    assert task["callback_url"] == "https://example.org/hook"
