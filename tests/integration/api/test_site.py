"""What surrounds the operations: request ids, errors, the document, static files."""

from __future__ import annotations

import gzip
import io
import json
import re
import threading
import warnings
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import path
from django.utils.module_loading import import_string

from tests.integration.api.conftest import TASKS
from tests.integration.databases import in_threads
from tests.support.problems import read_problem
from whisperhub import urls

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


def fail(request: Any) -> Any:
    raise ValueError("a secret detail")


class BrokenSite:
    """The site with a view that raises."""

    urlpatterns = [*urls.urlpatterns, path("api/broken", fail), path("broken", fail)]
    handler400 = urls.handler400
    handler404 = urls.handler404
    handler500 = urls.handler500


@pytest.fixture
def broken_site(settings) -> None:
    settings.ROOT_URLCONF = BrokenSite


# --- Request ids ---------------------------------------------------------------------


def test_the_clients_request_id_comes_back(client):
    response = client.get(TASKS, headers={"X-Request-ID": "abc-1"})

    assert response.headers["X-Request-ID"] == "abc-1"


def test_an_answer_has_a_request_id_even_so(client):
    first, second = client.get(TASKS), client.get(TASKS)

    assert re.fullmatch("[0-9a-f]{32}", first.headers["X-Request-ID"])
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


def test_an_error_names_the_request(client):
    response = client.get(f"{TASKS}x/", headers={"X-Request-ID": "abc-1"})

    assert read_problem(response, 404, "not_found")["request_id"] == "abc-1"


# --- What browsers and caches may do -------------------------------------------------

PAGES = ["/", "/redoc/", "/login/", "/admin/login/", "/nothing/", "/broken", "/admin/"]
SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL)
HANDLER = re.compile(r"<[^>]+\son[a-z]+\s*=", re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_may_load_files_of_this_server_only(
    stranger, admin_client, broken_site, page
):
    admin_client.raise_request_exception = False
    client = admin_client if page == "/admin/" else stranger
    response = client.get(page)

    assert response.headers["Content-Type"].startswith("text/html")
    rules = dict(
        rule.split(" ", 1)
        for rule in response.headers["Content-Security-Policy"].split("; ")
    )
    assert rules["default-src"] == "'self'"
    assert "script-src" not in rules
    assert rules["frame-ancestors"] == "'none'"
    # Its own policy would stop a script that stands in the page.
    html = response.content.decode()
    assert not HANDLER.search(html)
    for attributes, script in SCRIPT.findall(html):
        assert not script.strip() or 'type="application/json"' in attributes


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("get", TASKS),
        ("post", TASKS),
        ("get", "/api/v1/models/"),
        ("get", "/api/v1/usage/"),
        ("get", "/api/nothing/"),
        ("get", "/api/broken"),
        ("delete", "/api/v1/models/"),
    ],
)
def test_answers_of_the_api_are_kept_in_no_cache(client, broken_site, method, address):
    response = getattr(client, method)(address)

    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_icon_that_browsers_ask_for_is_there(stranger):
    response = stranger.get("/favicon.ico")

    assert served(stranger, "/favicon.ico")[:4] == b"\0\0\1\0"
    assert response.headers["Content-Type"].startswith("image/")
    assert "max-age" in response.headers["Cache-Control"]
    response.close()


# --- Errors outside the views --------------------------------------------------------


@pytest.mark.parametrize("address", ["/api/", "/api/v1/nothing/", "/api/v2/tasks/"])
def test_an_unknown_address_of_the_api_is_a_problem(stranger, address):
    read_problem(stranger.get(address), 404, "not_found")


def test_another_unknown_address_is_a_page(stranger):
    response = stranger.get("/nothing/")

    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")


def test_an_unforeseen_error_is_a_problem_that_tells_nothing(
    stranger, broken_site, caplog
):
    response = stranger.get("/api/broken", headers={"X-Request-ID": "abc-1"})

    body = read_problem(response, 500, "internal_error")
    assert body["request_id"] == "abc-1"
    assert "secret" not in json.dumps(body)
    assert "a secret detail" in caplog.text


def test_an_unforeseen_error_of_a_page_is_a_page(stranger, broken_site, caplog):
    response = stranger.get("/broken")

    assert response.status_code == 500
    assert response.headers["Content-Type"].startswith("text/html")


def test_a_method_that_is_not_there_is_a_problem(client):
    response = client.put(TASKS, {})

    read_problem(response, 405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


def test_a_wrong_host_of_the_api_is_a_problem(stranger):
    response = stranger.get(TASKS, headers={"Host": "evil.example"})

    read_problem(response, 400, "bad_request")


# --- The document --------------------------------------------------------------------

SCHEMA = "/api/v1/schema/"


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """What is written of the document: the languages, in their order."""
    from whisperhub.web.openapi_documents import Documents, documents

    seen: list[str] = []
    lock = threading.Lock()
    write = Documents._write

    def note(language: str, renderer: Any) -> Any:
        with lock:
            seen.append(f"{language} {renderer.format}")
        return write(language, renderer)

    documents.forget()
    monkeypatch.setattr(Documents, "_write", staticmethod(note))
    return seen


def test_the_document_is_written_once_for_each_language_and_format(stranger, written):
    for query in ({}, {"format": "json"}, {"lang": "zh-hans"}, {}, {"version": "2"}):
        assert stranger.get(SCHEMA, query).status_code == 200

    assert written == ["en yaml", "en json", "zh-hans yaml"]


def test_strangers_who_come_at_once_have_the_document_written_once(written):
    # Without a database: who asks is not looked up.
    clients = [Client() for _ in range(32)]

    answers = in_threads([partial(client.get, SCHEMA) for client in clients])

    assert [answer.status_code for answer in answers] == [200] * 32
    assert len({answer.content for answer in answers}) == 1
    assert written == ["en yaml"]


def test_an_unchanged_document_is_not_sent_again(stranger):
    first = stranger.get(SCHEMA)
    again = stranger.get(SCHEMA, headers={"If-None-Match": first.headers["ETag"]})
    chinese = stranger.get(
        SCHEMA, {"lang": "zh"}, headers={"If-None-Match": first.headers["ETag"]}
    )

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert chinese.status_code == 200
    for answer in (first, again):
        varies = set(answer.headers["Vary"].split(", "))
        assert varies >= {"Accept", "Accept-Encoding", "Accept-Language", "Cookie"}
        assert answer.headers["Cache-Control"] == "public, no-cache"


def test_the_document_is_compressed_for_who_takes_that(stranger):
    plain = stranger.get(SCHEMA)
    small = stranger.get(SCHEMA, headers={"Accept-Encoding": "br, gzip"})

    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.content) == plain.content
    assert len(small.content) < len(plain.content) / 5


def test_the_document_asks_nobody_for_a_key(stranger, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = stranger.get(SCHEMA, headers={"Authorization": "Bearer whk_none"})

    assert response.status_code == 200
    assert stranger.head(SCHEMA).status_code == 200


def test_the_openapi_document_builds_without_a_warning():
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=io.StringIO())


def test_every_operation_is_documented_with_its_errors(stranger):
    document = stranger.get(
        "/api/v1/schema/", headers={"Accept": "application/vnd.oai.openapi+json"}
    ).json()

    operations = {
        (method, address): operation
        for address, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert ("post", "/api/v1/tasks/") in operations
    for operation in operations.values():
        assert operation["summary"]
        assert "401" in operation["responses"]


@pytest.fixture
def document(stranger) -> Any:
    """The OpenAPI document."""
    return stranger.get("/api/v1/schema/", query_params={"format": "json"}).json()


def test_each_answer_is_documented_with_its_shape_and_the_request_id(document):
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"400", "401", "406", "503"} <= set(operation["responses"])
            for status, answer in operation["responses"].items():
                assert answer["headers"]["X-Request-ID"]["required"] is True
                if status >= "400":
                    ((media_type, shown),) = answer["content"].items()
                    assert media_type == "application/problem+json"
                    assert shown.keys() == {"schema", "examples"}
                    assert shown["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_operations_are_named_by_what_they_do(document):
    names = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    }

    assert {"tasks_create", "tasks_cancel", "keys_rotate", "models_list"} <= names
    assert not [name for name in names if name.endswith(("_create_create", "_enum"))]
    assert {"tasks_cancel_create", "keys_rotate_create"}.isdisjoint(names)


def test_bodies_are_described_as_strictly_as_they_are_read(document):
    schemas = document["components"]["schemas"]
    bodies = [name for name in schemas if name.endswith("Request")]

    assert "TaskUploadRequest" in bodies
    for name in bodies:
        assert schemas[name]["additionalProperties"] is False
    assert "file" in schemas["TaskUploadRequest"]["required"]
    assert "file" not in schemas["TaskLinkRequest"]["properties"]
    assert schemas["TaskLinkRequest"]["required"] == ["file_url"]


LOADED = re.compile(r"""<(?:script|link|img)\b[^>]*?(?:src|href)=["']([^"']+)""")


@pytest.mark.parametrize("page", ["/", "/redoc/"])
def test_the_documentation_uses_files_of_this_server_only(stranger, page):
    html = stranger.get(page).content.decode()

    loaded = LOADED.findall(html)
    assert loaded
    assert not [url for url in loaded if re.match(r"(?:[a-z]+:)?//", url)]
    for url in loaded:
        if url.startswith("/static/"):
            assert served(stranger, url)


def test_swagger_ui_knows_where_the_document_is_and_the_token(stranger):
    html = stranger.get("/", {"lang": "zh"}).content.decode()

    assert 'data-schema-url="/api/v1/schema/?lang=zh-hans"' in html
    token = re.search(r'data-csrf-token="(\w+)"', html)
    assert token
    assert 'data-csrf-header="X-CSRFTOKEN"' in html
    assert "swagger.js" in html


def test_swagger_ui_runs(stranger):
    html = stranger.get("/").content.decode()

    scripts = [url for url in LOADED.findall(html) if url.endswith(".js")]
    assert any("swagger-ui-bundle" in url for url in scripts)


def served(client: Client, address: str) -> bytes:
    response = client.get(address)
    assert response.status_code == 200
    content: bytes = response.getvalue()
    response.close()
    return content


@pytest.mark.parametrize("address", ["/static/admin/css/base.css"])
def test_static_files_need_no_front_server(stranger, address):
    assert b"--primary" in served(stranger, address)


def test_a_static_file_may_be_cached(stranger):
    response = stranger.get("/static/admin/css/base.css")

    assert "max-age" in response.headers["Cache-Control"]
    assert response.headers["Content-Type"].startswith("text/css")
    response.close()


def test_no_middleware_inside_of_a_sync_one_makes_a_request_change_threads(settings):
    sync_only = [
        name
        for name in settings.MIDDLEWARE
        if not getattr(import_string(name), "async_capable", False)
    ]

    assert sync_only == settings.MIDDLEWARE[-1:]


def test_no_check_of_django_complains(settings):
    # Added by Django for test clients: a name that others could use.
    settings.ALLOWED_HOSTS = [
        host for host in settings.ALLOWED_HOSTS if host != "testserver"
    ]

    with warnings.catch_warnings():
        call_command("check", "--fail-level", "WARNING", stdout=io.StringIO())
