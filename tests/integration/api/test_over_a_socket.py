"""Whatever comes over the socket: one shape of errors, and the id of the request.

The web process runs as operators run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import ApiKey, User
from accounts.scopes import Scope
from tests.support.problems import check_problem
from tests.support.raw_http import RawAnswer, exchange, request_bytes
from tests.support.web import running_web
from whisperhub.web.protocol import (
    MAX_ADDRESS_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
)

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

JSON = "Content-Type: application/json"


class Web(NamedTuple):
    """A running web process, and a key to it."""

    address: str
    key: str

    def ask(
        self, line: str | bytes, *headers: str | bytes, body: bytes = b""
    ) -> RawAnswer:
        """Send a request with the key, under the id `mine`."""
        return exchange(
            self.address,
            request_bytes(
                line,
                f"Authorization: Bearer {self.key}",
                "X-Request-ID: mine",
                *headers,
                body=body,
            ),
        )

    def submit(self, body: bytes) -> RawAnswer:
        """Send JSON to the tasks."""
        return self.ask("POST /api/v1/tasks/ HTTP/1.1", JSON, body=body)


@pytest.fixture(scope="module")
def web(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: Any
) -> Iterator[Web]:
    media: Path = tmp_path_factory.mktemp("media")
    with django_db_blocker.unblock(), closing(connection):
        owner = User.objects.create(username="over-a-socket", is_staff=True)
        key, secret = ApiKey.issue(owner, "test", scopes=list(Scope))
        # A use is noted once a minute at most, and on SQLite it would wait for the
        # transaction that each test holds.
        key.last_used_at = timezone.now() + timedelta(days=1)
        key.save()
        with running_web(media) as address:
            yield Web(address, secret)
        owner.delete()


def read_problem(answer: RawAnswer, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is this problem, under the id that was sent."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine"
    # Whoever answers: the protocol, the guard of uploads, or Django.
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body: dict[str, Any] = answer.json()
    check_problem(body, status, code)
    assert body["request_id"] == "mine"
    return body


# --- Bodies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut off"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b'{"temperature": NaN}', id="not a number"),
        pytest.param(b'{"beam_size": ' + b"9" * 5000 + b"}", id="too many digits"),
        pytest.param(b"[" * 100_000, id="too deep and cut off"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="too deep"),
    ],
)
def test_malformed_json_is_a_problem(web, body):
    headers = (JSON,) if body else (JSON, "Content-Length: 0")
    answer = web.ask("POST /api/v1/tasks/ HTTP/1.1", *headers, body=body)

    # Without a byte there is nothing to parse, and no field.
    read_problem(answer, 400, "parse_error" if body else "invalid")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(b'{"platform": "a\\u0000b"}', "platform", id="NUL"),
        pytest.param(b'{"platform": "\\ud800"}', "platform", id="surrogate"),
        pytest.param(b'{"priority": "\\ud800"}', "priority", id="surrogate echoed"),
        pytest.param(b'{"\\ud800": 1}', "\ud800", id="surrogate as a name"),
        pytest.param(b'{"a\\u0000": 1}', "a\x00", id="NUL as a name"),
        pytest.param(b'{"beam_size": 1e999}', "beam_size", id="infinite"),
        pytest.param(
            b'{"beam_size": ' + b"9" * 4000 + b"}", "beam_size", id="huge integer"
        ),
        pytest.param(b'{"patience": -1e308}', "patience", id="huge negative"),
        pytest.param(b'{"temperature": [1e999]}', "temperature", id="infinite in list"),
        pytest.param(
            b'{"vad_parameters": "' + b"[" * 50_000 + b'"}',
            "vad_parameters",
            id="deep JSON in a text",
        ),
        pytest.param(
            b'{"vad_parameters": {"\\ud800": 1}}',
            "vad_parameters.\ud800",
            id="surrogate below",
        ),
        pytest.param(b'{"platform": 7}', "platform", id="number for a text"),
        pytest.param(b'{"priority": ""}', "priority", id="empty choice"),
        pytest.param(
            b'{"file_url": "http://\\ud800/"}', "file_url", id="surrogate in a link"
        ),
        pytest.param(
            b'{"callback_headers": {"\\ud800": "a"}}',
            "callback_headers",
            id="surrogate in a header",
        ),
    ],
)
def test_a_field_with_a_strange_value_is_named(web, body, field):
    problem = read_problem(web.submit(body), 400, "invalid")

    assert field in problem["errors"]


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"a"', b"true"], ids=str)
@pytest.mark.parametrize(
    "path", ["tasks/", "keys/", "callbacks/test/", "detect-language/"]
)
def test_json_that_is_no_object_is_a_problem(web, path, body):
    answer = web.ask(f"POST /api/v1/{path} HTTP/1.1", JSON, body=body)

    read_problem(answer, 400, "invalid")


@pytest.mark.parametrize("content_type", ["text/plain", "image/png", "nonsense"])
def test_another_content_type_is_a_problem(web, content_type):
    answer = web.ask(
        "POST /api/v1/tasks/ HTTP/1.1", f"Content-Type: {content_type}", body=b"{}"
    )

    read_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("multipart/form-data", b"x", id="no boundary"),
        pytest.param(
            "multipart/form-data; boundary=a", b"--b\r\n", id="other boundary"
        ),
    ],
)
def test_a_malformed_form_is_a_problem(web, content_type, body):
    answer = web.ask(
        "POST /api/v1/tasks/ HTTP/1.1", f"Content-Type: {content_type}", body=body
    )

    assert answer.status == 400
    assert answer.json()["code"] in {"parse_error", "invalid"}
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_upload_with_a_strange_name_is_read(web):
    body = (
        b'--a\r\nContent-Disposition: form-data; name="model"\r\n\r\nnobodys\r\n'
        b'--a\r\nContent-Disposition: form-data; name="file"; '
        b'filename="\xff\xed\xa0\x80\x01.wav"\r\n\r\nsound\r\n--a--\r\n'
    )

    answer = web.ask(
        "POST /api/v1/tasks/ HTTP/1.1",
        "Content-Type: multipart/form-data; boundary=a",
        body=body,
    )

    # Both parts were read, and the test's transaction lets nobody write a task.
    assert (answer.status, answer.json()["code"]) == (400, "unknown_model")


# --- Addresses and methods -----------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/v1/nothing/",
        "/api/v1/tasks/%00/",
        "/api/v1/tasks/%ff%fe/",
        "/api/v1/tasks/%ed%a0%80/",
        "/api/v1/tasks/..%2f..%2f/",
        "/api/%zz",
        "/api//v1/tasks/",
    ],
)
def test_an_unknown_address_is_a_problem(web, path):
    read_problem(web.ask(f"GET {path} HTTP/1.1"), 404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        "status=%00",
        "status=%ed%a0%80",
        "limit=99999999999999999999999999",
        "limit=%EF%BC%91",
        "offset=1_0",
        "created_after=0001-01-01T00:00:00%2B23:59",
        "created_before=9999-12-31T23:59:59-23:59",
        "cursor=%00",
        "cursor=LWNyZWF0ZWRfYXQgOTk5OTk5OTk5OTk5OTk5OTk5OSAx",
        "owner=%00",
        "no_such=1",
    ],
)
def test_a_strange_filter_is_a_problem(web, query):
    read_problem(web.ask(f"GET /api/v1/tasks/?{query} HTTP/1.1"), 400, "invalid")


@pytest.mark.parametrize(
    "query",
    [
        "created_after=0001-01-01T00:00:00%2B23:59",
        "created_before=9999-12-31T23:59:59-23:59",
        "created_after=%00",
        "state=%00",
    ],
)
def test_a_strange_filter_of_callbacks_is_a_problem(web, query):
    read_problem(web.ask(f"GET /api/v1/callbacks/?{query} HTTP/1.1"), 400, "invalid")


@pytest.mark.parametrize("method", ["PUT", "TRACE", "PROPFIND"])
def test_a_method_that_is_not_there_is_a_problem(web, method):
    answer = web.ask(f"{method} /api/v1/tasks/ HTTP/1.1", "Content-Length: 0")

    read_problem(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


def test_a_type_that_no_answer_has_is_a_problem(web):
    answer = web.ask("GET /api/v1/tasks/ HTTP/1.1", "Accept: image/png")

    read_problem(answer, 406, "not_acceptable")


@pytest.mark.parametrize(
    "host", ["evil.example", "local host", "[::1", "a/b", "é.example", ""]
)
def test_a_wrong_host_is_a_problem(web, host):
    read_problem(
        web.ask("GET /api/v1/tasks/ HTTP/1.1", f"Host: {host}"), 400, "bad_request"
    )


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api/v1/tasks/", "/api/v1/nothing/", "/healthz"])
def test_other_methods_carry_the_id(web, method, path):
    answer = web.ask(f"{method} {path} HTTP/1.1")

    assert answer.status < 500
    assert answer.headers["x-request-id"] == "mine"


# --- What never reaches Django -------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/api/v1/tasks/?platform=" + "a" * MAX_ADDRESS_BYTES, "/" + "a" * 10**6],
    ids=["query", "path"],
)
def test_too_long_an_address_is_a_problem(web, path):
    answer = exchange(web.address, request_bytes(f"GET {path} HTTP/1.1"))

    check_problem(answer.json(), 414, "address_too_long")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["X-Long: " + "a" * MAX_HEADER_BYTES], id="one long"),
        pytest.param([f"X-{n}: a" for n in range(MAX_HEADERS + 1)], id="too many"),
    ],
)
def test_too_many_headers_are_a_problem(web, headers):
    answer = web.ask("GET /api/v1/tasks/ HTTP/1.1", *headers)

    read_problem(answer, 431, "headers_too_large")


def test_a_link_of_the_greatest_length_fits_into_an_address(web):
    answer = web.ask(
        "POST /api/v1/tasks/?file_url=" + "%C3" * 2048 + " HTTP/1.1",
        "Content-Length: 0",
    )

    assert "file_url" in read_problem(answer, 400, "invalid")["errors"]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"nonsense\r\n\r\n", id="no request"),
        pytest.param(b"BREW /api/ HTTP/1.1\r\n\r\n", id="unknown method"),
        pytest.param(b"GET /api/\x00 HTTP/1.1\r\n\r\n", id="NUL"),
        pytest.param(b"GET \xff HTTP/1.1\r\n\r\n", id="no address"),
        pytest.param(
            b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nA\x00: b\r\n\r\n",
            id="NUL in a header",
        ),
        pytest.param(
            b"POST /api/v1/tasks/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(
            b"POST /api/v1/tasks/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: -1\r\n\r\n",
            id="negative length",
        ),
    ],
)
def test_what_is_no_http_is_a_problem(web, request_):
    answer = exchange(web.address, request_)

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    check_problem(answer.json(), 400, "bad_http")


def test_a_connection_goes_on_after_an_ordinary_error(web):
    twice = request_bytes("GET /api/v1/nothing/ HTTP/1.1", "X-Request-ID: mine") * 2

    read_problem(exchange(web.address, twice), 404, "not_found")


# --- The id of the request -----------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET / HTTP/1.1", 200),
        ("GET /nothing/ HTTP/1.1", 404),
        ("GET /admin/ HTTP/1.1", 302),
        ("GET /api/v1/tasks HTTP/1.1", 301),
        ("GET /static/admin/css/base.css HTTP/1.1", 200),
        ("GET /static/nothing.css HTTP/1.1", 404),
        ("GET /healthz HTTP/1.0", 200),
        ("HEAD /redoc/ HTTP/1.1", 200),
        ("POST /login/ HTTP/1.1", 403),
        ("DELETE /healthz HTTP/1.1", 403),
    ],
)
def test_pages_files_and_redirects_carry_the_id(web, line, status):
    answer = web.ask(line)

    assert (answer.status, answer.headers["x-request-id"]) == (status, "mine")


def test_a_refused_upload_carries_the_id(web):
    answer = web.ask(
        "POST /api/v1/tasks/ HTTP/1.1",
        "Content-Type: multipart/form-data; boundary=a",
        f"Content-Length: {2**50}",
        "Expect: 100-continue",
    )

    read_problem(answer, 413, "file_too_large")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["X-Request-ID: " + "a" * 65], id="too long"),
        pytest.param(["X-Request-ID: a b"], id="blank"),
        pytest.param([b"X-Request-ID: \xff"], id="no ASCII"),
        pytest.param(["X-Request-ID: one", "X-Request-ID: two"], id="two"),
        pytest.param([], id="none"),
    ],
)
def test_without_a_good_id_there_is_one_of_ours(web, headers):
    answer = exchange(
        web.address, request_bytes("GET /api/v1/nothing/ HTTP/1.1", *headers)
    )

    given = answer.headers["x-request-id"]
    assert len(given) == 32
    assert answer.json()["request_id"] == given


# --- Who asks ------------------------------------------------------------------------


def test_a_new_claim_each_time_does_not_evade_the_limit_of_logins(web):
    claims = ("X-Forwarded-For", "X_Forwarded_For", "X-Real-IP")
    with requests.Session() as browser:
        browser.get(f"{web.address}/login/")
        form = {
            "username": "over-a-socket",
            "password": "guess",
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }

        statuses = [
            browser.post(
                f"{web.address}/login/",
                form,
                headers=dict.fromkeys(claims, f"203.0.113.{number}"),
            ).status_code
            for number in range(settings.LOGIN_ATTEMPTS + 1)
        ]

    assert statuses == [200] * settings.LOGIN_ATTEMPTS + [429]
