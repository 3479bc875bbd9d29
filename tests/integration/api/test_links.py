"""`file_url` in a request: which links are taken, and that none is opened."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

from tests.integration.api.conftest import TASKS
from tests.integration.api.test_callback_urls import REFUSED
from tests.support.problems import read_problem
from tests.support.stored_files import tasks_root
from tests.unit.network.test_addresses import NOT_PUBLIC
from transcription.api.views import DetectLanguageView
from transcription.models import TranscriptionTask
from whisperhub.network.egress import DEFAULT_PORTS, parse_allowed

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def strict(settings: Any, no_hints: list[int]) -> None:
    """What an operator has who set nothing."""
    settings.OUTGOING_ALLOWED = ()
    settings.OUTGOING_PORTS = DEFAULT_PORTS


@pytest.fixture
def link(client):
    """Send a link as JSON."""

    def send(url: Any, **fields: Any) -> Any:
        headers = fields.pop("headers", {})
        return client.post(
            TASKS, {"file_url": url, **fields}, format="json", headers=headers
        )

    return send


@pytest.fixture
def no_look_up(monkeypatch):
    """Nobody asks a name server."""
    resolve = socket.getaddrinfo

    def refuse(host: Any, *args: Any, **kwargs: Any) -> Any:
        assert kwargs.get("flags", 0) & socket.AI_NUMERICHOST, host
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/talks/my%20talk.mp3?sig=a%2Fb", "my talk.mp3"),
        ("http://example.org", ""),
        ("HTTPS://EXAMPLE.ORG:443/a/", ""),
        ("https://例え.example/会议.mp3", "会议.mp3"),
        ("https://files.internal/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://93.184.215.14/a.wav", "a.wav"),
        ("https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/a.wav", "a.wav"),
        ("https://example.org/" + "a" * (2048 - 20), "a" * 255),
    ],
    ids=lambda value: value[:40],
)
@pytest.mark.usefixtures("no_look_up")
def test_a_link_becomes_a_task_that_waits_to_be_fetched(link, no_hints, url, name):
    response = link(url, language="en")

    assert response.status_code == 201, response.content
    body = response.json()
    assert (body["status"], body["source"]) == ("preparing", "link")
    assert (body["file_url"], body["file_name"]) == (url, name)
    assert (body["file_size_bytes"], body["language"]) == (None, "en")
    task = TranscriptionTask.objects.get()
    assert task.file_url == url
    assert not tasks_root().exists()


def test_a_form_may_hold_a_link(submit):
    response = submit(None, file_url="https://example.org/a.mp3")

    assert response.json()["source"] == "link"


def test_the_hint_goes_out_after_the_commit(
    link, no_hints, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        link("https://example.org/a.mp3")

    assert no_hints == [TranscriptionTask.objects.get().pk]


@pytest.mark.one_database
@pytest.mark.parametrize("url", REFUSED, ids=lambda url: ascii(url)[:40])
def test_a_link_that_nothing_can_be_fetched_from_is_refused(link, url):
    body = read_problem(link(url), 400, "invalid")

    (error,) = body["errors"].pop("file_url")
    assert error["code"] == "invalid_file_url"
    assert error["message"].endswith(".")
    assert body["errors"] == {}
    assert not TranscriptionTask.objects.exists()


@pytest.mark.one_database
@pytest.mark.parametrize(
    "host",
    [
        *(f"[{address}]" if ":" in address else address for address in NOT_PUBLIC),
        *("127.1", "0x7f.1", "2130706433", "0177.0.0.1", "017700000001", "0"),
        *("127.0.0.1.", "[::ffff:7f00:1]", "example.org:8080", "93.184.215.14:22"),
    ],
)
@pytest.mark.usefixtures("no_look_up")
def test_a_link_to_an_inside_is_refused_by_its_text(link, host):
    body = read_problem(link(f"http://{host}/"), 400, "invalid")

    (error,) = body["errors"]["file_url"]
    assert error["code"] == "blocked_address"


@pytest.mark.parametrize(
    "url", ["http://10.1.2.3/a", "http://192.168.7.9:9000/a", "http://files.lan:8080/a"]
)
def test_what_the_operator_allows_is_taken(link, settings, url):
    settings.OUTGOING_ALLOWED = parse_allowed(
        "10.0.0.0/8,192.168.7.9:9000,files.lan:8080"
    )

    assert link(url).status_code == 201


@pytest.mark.parametrize("value", [None, [], {}, True, ["https://example.org/a"]])
def test_json_of_another_type_is_refused(link, value):
    body = read_problem(link(value), 400, "invalid")

    assert list(body["errors"]) == ["file_url"]


def test_a_model_that_nobody_serves_is_refused_for_links_too(link):
    read_problem(link("https://example.org/a", model="none"), 400, "unknown_model")


def test_a_repeated_request_with_a_key_makes_no_second_task(link):
    url, headers = "https://example.org/a.mp3", {"Idempotency-Key": "one"}

    first = link(url, headers=headers)
    second = link(url, headers=headers)

    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert TranscriptionTask.objects.count() == 1


@pytest.mark.parametrize(
    "other", [{"url": "https://example.org/a.mp3?v=2"}, {"language": "en"}], ids=str
)
def test_a_key_is_not_for_another_link(link, other):
    url, headers = "https://example.org/a.mp3", {"Idempotency-Key": "one"}
    link(url, headers=headers)

    response = link(other.pop("url", url), headers=headers, **other)

    read_problem(response, 409, "idempotency_key_reused")


def test_a_key_of_a_link_is_not_for_an_upload(link, submit, client):
    headers = {"Idempotency-Key": "one"}
    link("https://example.org/a.mp3", headers=headers)

    response = client.post(
        TASKS,
        {"file": SimpleUploadedFile("a.mp3", b"sound")},
        format="multipart",
        headers=headers,
    )

    read_problem(response, 409, "idempotency_key_reused")


def test_the_language_of_a_link_can_be_asked_for(client, owner):
    request = RequestFactory().post(
        "/api/v1/detect-language/",
        {"file_url": "https://example.org/a.mp3", "audio_track": 1},
        content_type="application/json",
        headers={"Authorization": client._credentials["HTTP_AUTHORIZATION"]},
    )

    response = DetectLanguageView.as_view()(request)

    assert response.status_code == 202
    task = TranscriptionTask.objects.get()
    assert (task.task_type, task.source) == ("detect_language", "link")
    assert task.options == {"audio_track": "1"}
