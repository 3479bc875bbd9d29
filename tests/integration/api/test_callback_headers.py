"""`callback_headers` in a request: which are taken, and that nobody sees a value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.integration.api.conftest import TASKS
from tests.support.factories import TaskFactory
from tests.support.problems import read_problem
from transcription.models import TranscriptionTask

pytestmark = pytest.mark.django_db

URL = "https://example.org/hook"
SECRET = "Bearer do-not-tell"


def send(submit: Any, headers: Any) -> Any:
    return submit(callback_url=URL, callback_headers=json.dumps(headers))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": SECRET},
        {"X-Api-Key": "k", "cookie": "a=b; c=d", "!#$%&'*+-.^`|~": "~"},
        {"X-Long": "v" * 2048},
        {f"X-{number}": "v" for number in range(10)},
        {"A" * 100: "v"},
    ],
    ids=lambda headers: str(headers)[:30],
)
def test_headers_are_kept_and_only_named(submit, client, headers):
    response = send(submit, headers)

    assert response.status_code == 201, response.content
    body = response.json()
    assert body["callback_header_names"] == sorted(headers)
    assert "callback_headers" not in body
    assert TranscriptionTask.objects.get().callback_headers == headers
    shown = client.get(body["links"]["self"])
    assert shown.json()["callback_header_names"] == sorted(headers)
    assert SECRET not in shown.content.decode() + client.get(TASKS).content.decode()


def test_headers_may_be_left_out(submit):
    assert submit(callback_url=URL).json()["callback_header_names"] == []


REFUSED = [
    {"": "v"},
    {"A" * 101: "v"},
    {"a b": "v"},
    {"a:": "v"},
    {"naïve": "v"},
    {"a\r\nb": "v"},
    {":path": "v"},
    {"X-Empty": ""},
    {"X-Long": "v" * 2049},
    {"X-Blank": " v"},
    {"X-Blank": "v "},
    {"X-Split": "v\r\nX-Other: w"},
    {"X-Tab": "v\tw"},
    {"X-Null": "v\0w"},
    {"X-Word": "日本"},
    {"X-Number": 5},
    {"X-None": None},
    {"X-List": ["v"]},
    {"X-Twice": "v", "x-twice": "w"},
    {f"X-{number}": "v" for number in range(11)},
    *(
        {name: "v"}
        for name in [
            *("Host", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade"),
            *("Transfer-Encoding", "Expect", "User-Agent", "HTTP2-Settings"),
            *("Content-Type", "content-length", "Content-Encoding"),
            *("Proxy-Authorization", "Forwarded", "X-Forwarded-For"),
            *("X_Forwarded_For", "X.Forwarded.For", "x_token", "Content_Type"),
            *("X-Real-IP", "x-real-ip", "True-Client-IP", "CF-Connecting-IP", "Via"),
            *("X-Client-IP", "X-Original-URL", "X-HTTP-Method-Override"),
            *("Remote-User", "X-Remote-User", "X-Auth-Request-Email", "Sec-Fetch-Site"),
            *("X-Amzn-Oidc-Identity", "X-Goog-IAP-JWT-Assertion", "X-SSL-Client-Cert"),
            *("webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "webhook-x"),
        ]
    ),
]


@pytest.mark.one_database
@pytest.mark.parametrize("headers", REFUSED, ids=lambda headers: ascii(headers)[:40])
def test_headers_that_cannot_or_must_not_be_sent_are_refused(submit, headers):
    body = read_problem(send(submit, headers), 400, "invalid")

    (error,) = body["errors"].pop("callback_headers")
    assert error["message"].endswith(".")
    assert body["errors"] == {}
    assert not TranscriptionTask.objects.exists()


@pytest.mark.parametrize("text", ["x", "[]", "5", "null", '"a"', "{", "[" * 10_000])
def test_a_form_must_hold_an_object(submit, text):
    response = submit(callback_url=URL, callback_headers=text)

    body = read_problem(response, 400, "invalid")
    assert body["errors"]["callback_headers"][0]["code"] == "object"


@pytest.mark.parametrize("value", [5, True, None, [], "nothing"])
def test_json_of_another_type_is_refused(client, value):
    request = {
        "file_url": "https://example.org/a.mp3",
        "callback_url": URL,
        "callback_headers": value,
    }

    body = read_problem(client.post(TASKS, request, format="json"), 400, "invalid")

    assert list(body["errors"]) == ["callback_headers"]


def test_a_refusal_does_not_repeat_a_value(submit):
    response = send(submit, {"Authorization": SECRET + "\n"})

    assert response.status_code == 400
    assert "do-not-tell" not in response.content.decode()


def test_headers_without_an_address_are_refused(submit):
    response = submit(callback_headers=json.dumps({"Authorization": SECRET}))

    body = read_problem(response, 400, "invalid")
    assert list(body["errors"]) == ["callback_headers"]
    assert "callback_url" in body["errors"]["callback_headers"][0]["message"]


def test_the_same_request_with_other_headers_is_another_request(client, no_hints):
    def post(value: str) -> Any:
        return client.post(
            TASKS,
            {
                "file": SimpleUploadedFile("a.wav", b"sound"),
                "callback_url": URL,
                "callback_headers": json.dumps({"Authorization": value}),
            },
            format="multipart",
            headers={"Idempotency-Key": "once"},
        )

    assert post("a").status_code == 201
    assert post("a").headers["Idempotency-Replayed"] == "true"
    read_problem(post("b"), 409, "idempotency_key_reused")


def test_a_detection_that_waits_takes_no_headers(client):
    response = client.post(
        "/api/v1/detect-language/",
        {"file": SimpleUploadedFile("a.wav", b"sound"), "callback_headers": "{}"},
        format="multipart",
    )

    body = read_problem(response, 400, "invalid")
    assert body["errors"]["callback_headers"][0]["code"] == "unknown_field"


def test_the_list_names_them(client, owner):
    TaskFactory(
        owner=owner, callback_url=URL, callback_headers={"b": SECRET, "a": SECRET}
    )

    response = client.get(TASKS)

    assert response.json()["results"][0]["callback_header_names"] == ["a", "b"]
    assert SECRET not in response.content.decode()
