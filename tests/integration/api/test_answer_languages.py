"""Each error over HTTP in both languages; which answers depend on the language."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.utils import translation
from rest_framework.test import APIClient

from accounts import usage
from accounts.limits import client_with_key
from accounts.models import User
from accounts.rights import Right
from tests.integration.api.conftest import TASKS, client_with
from tests.integration.api.test_site import BrokenSite
from tests.support.factories import (
    ApiKeyFactory,
    CallbackFactory,
    SlotFactory,
    TaskFactory,
    UserFactory,
)
from tests.support.waiting import patient
from tests.support.web import running_web
from tests.unit.test_errors import CODES
from transcription import errors
from transcription.api.problem_examples import SENTENCES
from transcription.api.waiting import place_name
from transcription.media.decoder import TOO_EXPENSIVE
from transcription.media.recognition import IS_WEB_PAGE, NO_INDEX
from transcription.media.types import AllowedTypes
from transcription.models import Callback
from transcription.notices import Notice, NoticeCode
from transcription.services import serving
from whisperhub import places
from whisperhub.sentences import Sentence

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

CHINESE = re.compile("[一-鿿]")
CALLBACKS = "/api/v1/callbacks/"
KEYS = "/api/v1/keys/"
ZH, EN = "zh-hans", "en"


@dataclass
class World:
    """Who asks, and what they ask with.

    Attributes:
        client: with a key of the owner that may do all.
        fixture: one by its name, for what few cases need.
        extra: added to each request: the language, in one of its ways.
    """

    owner: User
    client: APIClient
    settings: Any
    monkeypatch: Any
    fixture: Callable[[str], Any]
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, client: Any = None, **more: Any) -> Any:
        """Send a request in the language of this round."""
        headers = {**self.headers, **more.pop("headers", {})}
        path += ("&" if "?" in path else "?") + self.query if self.query else ""
        return getattr(client or self.client, method)(path, headers=headers, **more)

    def task(self, action: str = "", method: str = "post", **traits: Any) -> Any:
        """Ask something of a task of the owner."""
        task = TaskFactory(owner=self.owner, **traits)
        return self.ask(method, f"{TASKS}{task.public_id}/{action}")

    def limit(self, **limits: Any) -> Any:
        """Go on with a key that has limits; returns it."""
        key = ApiKeyFactory(owner=self.owner, **limits)
        self.client = client_with(key.secret)
        return key

    def submit(self, content: bytes = b"sound", key: str | None = None, **fields: Any):
        """Send a recording."""
        data = {"file": SimpleUploadedFile("a.wav", content), **fields}
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.ask("post", TASKS, data=data, format="multipart", headers=headers)


CASES: dict[str, Callable[[World], Any]] = {}


def provokes(code: str) -> Callable[[Any], Any]:
    def note(case: Callable[[World], Any]) -> Any:
        CASES[code] = case
        return case

    return note


def with_key(**traits: Any) -> Callable[[World], Any]:
    def call(world: World) -> Any:
        key = ApiKeyFactory(owner=world.owner, **traits)
        return world.ask("get", TASKS, client_with(key.secret))

    return call


def of_task(action: str, method: str = "post", **traits: Any) -> Callable[[World], Any]:
    return lambda world: world.task(action, method, **traits)


CASES |= {
    "not_authenticated": lambda world: world.ask("get", TASKS, APIClient()),
    "invalid_api_key": lambda world: world.ask("get", TASKS, client_with("whk_no")),
    "api_key_expired": with_key(expired=True),
    "api_key_revoked": with_key(revoked=True),
    "insufficient_scope": with_key(scope="write"),
    "not_found": lambda world: world.ask("get", "/api/v1/nothing/"),
    "method_not_allowed": lambda world: world.ask("put", TASKS),
    "invalid": lambda world: world.submit(
        beam_size="many",
        temperature="7",
        priority="urgent",
        language="klingon",
        initial_prompt="x" * 3000,
        vad_parameters='{"threshold": 4}',
        callback_url="ftp://x",
        callback_headers='{"Host": "x"}',
        clip_timestamps="5,1",
    ),
    "empty_file": lambda world: world.submit(b""),
    "unknown_model": lambda world: world.submit(model="nobody's"),
    "invalid_idempotency_key": lambda world: world.submit(key="é"),
    "already_ended": of_task("cancel/", completed=True),
    "not_retryable": of_task("retry/"),
    "media_gone": of_task("retry/", failed=True),
    "cancelled": of_task("result/", "get", cancelled=True),
    "parse_error": lambda world: world.ask(
        "post", TASKS, data="{", content_type="application/json"
    ),
    "not_acceptable": lambda world: world.ask(
        "get", TASKS, headers={"Accept": "image/png"}
    ),
    "unsupported_media_type": lambda world: world.ask(
        "post", TASKS, data="<a/>", content_type="application/xml"
    ),
    "bad_request": lambda world: world.ask(
        "get", TASKS, headers={"Host": "evil.example"}
    ),
}


@provokes("account_closed")
def account_closed(world: World) -> Any:
    User.objects.filter(pk=world.owner.pk).update(is_active=False)
    return world.ask("get", TASKS)


@provokes("staff_only")
def staff_only(world: World) -> Any:
    User.objects.filter(pk=world.owner.pk).update(is_staff=False)
    return world.ask("get", KEYS)


@provokes("permission_denied")
def permission_denied(world: World) -> Any:
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(world.owner)
    return world.ask("post", TASKS, browser)


@provokes("cross_site_request")
def cross_site_request(world: World) -> Any:
    world.settings.OPEN_MODE = True
    return world.ask(
        "post", TASKS, APIClient(), headers={"Sec-Fetch-Site": "cross-site"}
    )


@provokes("file_too_large")
def file_too_large(world: World) -> Any:
    world.settings.MAX_UPLOAD_BYTES = 3
    return world.submit()


@provokes("type_not_allowed")
def type_not_allowed(world: World) -> Any:
    world.settings.ALLOWED_TYPES = AllowedTypes(("mp3",))
    return world.submit()


@provokes("rate_limit_exceeded")
def rate_limit_exceeded(world: World) -> Any:
    world.fixture("broker")
    world.limit(requests_per_minute=1)
    assert world.ask("get", TASKS).status_code == 200
    return world.ask("get", TASKS)


@provokes("priority_not_allowed")
def priority_not_allowed(world: World) -> Any:
    world.limit(highest_priority="normal")
    return world.submit(priority="high")


@provokes("queue_quota_exceeded")
def queue_quota_exceeded(world: World) -> Any:
    world.limit(unfinished_tasks=1)
    assert world.submit().status_code == 201
    return world.submit()


@provokes("audio_quota_exceeded")
def audio_quota_exceeded(world: World) -> Any:
    account = world.limit(audio_seconds_per_day=100).quota_account_id
    usage.charge(account, world.owner.pk, audio_seconds=100, tasks=1)
    return world.submit()


@provokes("too_many_waiting")
def too_many_waiting(world: World) -> Any:
    world.settings.KEY_WAITING_REQUESTS = 1
    name = place_name(client_with_key(world.limit()))
    assert places.take(name, most=1, seconds=60)
    return world.ask("post", "/api/v1/detect-language/", data={})


@provokes("unsupported_option")
def unsupported_option(world: World) -> Any:
    SlotFactory(model="small", engine="openai-whisper")
    return world.submit(model="small", hotwords="Tokyo")


@provokes("idempotency_key_reused")
def idempotency_key_reused(world: World) -> Any:
    assert world.submit(key="one").status_code == 201
    return world.submit(b"other", key="one")


@provokes("idempotent_task_deleted")
def idempotent_task_deleted(world: World) -> Any:
    made = world.submit(key="one").json()
    assert world.client.delete(f"{TASKS}{made['id']}/").status_code == 204
    return world.submit(key="one")


@provokes("not_waiting")
def not_waiting(world: World) -> Any:
    task = TaskFactory(owner=world.owner, processing=True)
    return world.ask(
        "patch", f"{TASKS}{task.public_id}/", data={"priority": "high"}, format="json"
    )


@provokes("delivery_under_way")
def delivery_under_way(world: World) -> Any:
    told = CallbackFactory(task=TaskFactory(owner=world.owner), delivering=True)
    return world.ask("post", f"{CALLBACKS}{told.public_id}/replay/")


@provokes("too_many_tests")
def too_many_tests(world: World) -> Any:
    CallbackFactory.create_batch(10, owner=world.owner, test=True)
    return world.ask(
        "post", f"{CALLBACKS}test/", data={"callback_url": "https://a.example/"}
    )


@provokes("too_many_secrets")
def too_many_secrets(world: World) -> Any:
    for _time in range(5):
        answer = world.ask("post", f"{CALLBACKS}secret/rotate/")
    return answer


@provokes("key_not_rotatable")
def key_not_rotatable(world: World) -> Any:
    key = ApiKeyFactory(owner=world.owner, revoked=True)
    return world.ask("post", f"{KEYS}{key.public_id}/rotate/", data={}, format="json")


@provokes("permission_required")
def permission_required(world: World) -> Any:
    key = ApiKeyFactory(owner=UserFactory(is_staff=True), scope="read admin")
    return world.ask("get", f"{KEYS}?owner=somebody", client_with(key.secret))


@provokes("owner_has_more_rights")
def owner_has_more_rights(world: World) -> Any:
    above = UserFactory(operator=True)
    return world.ask(
        "post", KEYS, data={"owner": above.username, "name": "theirs"}, format="json"
    )


@provokes("scope_not_held")
def scope_not_held(world: World) -> Any:
    key = ApiKeyFactory(owner=world.owner, scope="admin")
    return world.ask(
        "post",
        KEYS,
        client_with(key.secret),
        data={"name": "mine", "scopes": ["read"]},
        format="json",
    )


@provokes("internal_error")
def internal_error(world: World) -> Any:
    world.settings.ROOT_URLCONF = BrokenSite
    return world.ask("get", "/api/broken")


@provokes("database_away")
def database_away(world: World) -> Any:
    def fail() -> Any:
        raise OperationalError("the database system is starting up")

    world.monkeypatch.setattr(serving, "served_models", fail)
    world.monkeypatch.setattr(
        "transcription.api.exceptions.will_pass", lambda error: True
    )
    return world.ask("get", "/api/v1/models/")


def failed(error: errors.WhisperHubError) -> Callable[[World], Any]:
    """Ask for the result of a task that failed so."""
    said = error.message
    return of_task(
        "result/",
        "get",
        failed=True,
        error_code=error.code,
        error_message=str(said),
        error_parts=said.parts if isinstance(said, Sentence) else None,
    )


KINDS: list[type[errors.FetchError]] = [
    errors.FetchError,
    *errors.FetchError.__subclasses__(),
]
FETCHING: dict[str, Callable[[World], Any]] = {
    f"{kind.code} {status}": failed(kind(status))
    for kind in KINDS
    for status in (None, 418)
}
STORED = {
    "invalid_media": Sentence("The file is not audio or video that can be read."),
    "no_audio": Sentence("The file has no audio."),
    "media_too_long": Sentence(
        "The media is longer than the {seconds:g} seconds allowed.", seconds=86400.0
    ),
    "engine_error": Sentence(
        "The engine failed on this audio ({reason}).", reason="RuntimeError"
    ),
    "model_unavailable": Sentence(
        "The model {name!r} could not be loaded: {reason}.",
        name="small",
        reason="RuntimeError",
    ),
    "no_such_track": Sentence(
        "The file has no audio track {wanted}. It has: {tracks}. Submit it again with "
        "one of these as audio_track, or without.",
        wanted="fr",
        tracks="0 (en), 1 (de)",
    ),
    "html_file": IS_WEB_PAGE,
    "media_incomplete": NO_INDEX,
    "worker_lost": Sentence(
        "The worker process died each time it worked on this file. Convert the file to "
        "another format and submit it again."
    ),
    "decoding_too_expensive": Sentence(TOO_EXPENSIVE.pattern, seconds=60.0, rate=3.0),
    "no_room": Sentence(str(errors.NoRoomError())),
    "storage_error": Sentence("The server could not read or store the media."),
}


def failed_with(code: str, said: Sentence) -> Callable[[World], Any]:
    return of_task(
        "result/",
        "get",
        failed=True,
        error_code=code,
        error_message=str(said),
        error_parts=said.parts,
    )


CASES |= {code: failed_with(code, said) for code, said in STORED.items()}
CASES |= {
    error.code: failed(error)
    for error in (
        errors.UnsupportedLanguageError("tiny.en", "zh"),
        errors.UnsupportedTaskError("tiny.en"),
    )
}

# Not to be had over HTTP: bases that nobody raises, and what stays between processes.
ELSEWHERE = {
    "conflict",
    "callback_error",
    "decoder_lost",
    "lease_lost",
    "quota_exceeded",
}


@pytest.fixture
def world(settings, monkeypatch, no_hints, request) -> World:
    rights = [right.partition(".")[2] for right in Right]
    owner = UserFactory(is_staff=True, permissions=rights)
    key = ApiKeyFactory(owner=owner, scope="read write admin")
    client = client_with(key.secret)
    return World(owner, client, settings, monkeypatch, request.getfixturevalue)


@pytest.fixture(autouse=True)
def no_language_is_left_behind():
    before = translation.get_language()
    yield
    assert translation.get_language() == before


def check(response: Any, code: str, language: str) -> None:
    body = response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert body["code"] == code
    assert response.headers["Content-Language"] == language
    vary = {name.strip() for name in response.headers["Vary"].split(",")}
    assert {"Accept-Language", "Cookie"} <= vary
    sentences = [
        body["title"],
        body["detail"],
        *(
            item["message"]
            for items in body.get("errors", {}).values()
            for item in items
        ),
    ]
    for sentence in sentences:
        assert bool(CHINESE.search(sentence)) == (language == ZH), sentence
    if language == EN:
        assert body["title"] == HTTPStatus(response.status_code).phrase


def ways(language: str) -> list[dict[str, Any]]:
    """Both ways to ask for a language; the parameter wins over the header."""
    other = EN if language == ZH else ZH
    return [
        {"query": f"lang={language}", "headers": {"Accept-Language": other}},
        {"query": "", "headers": {"Accept-Language": f"{language},{other};q=0.5"}},
    ]


@pytest.mark.parametrize("way", [0, 1], ids=["parameter", "header"])
@pytest.mark.parametrize("language", [EN, ZH])
@pytest.mark.parametrize("code", CASES)
def test_every_error_is_said_in_both_languages(code, language, way, world, caplog):
    chosen = ways(language)[way]
    world.query, world.headers = chosen["query"], chosen["headers"]

    check(CASES[code](world), code, language)


@pytest.mark.parametrize("language", [EN, ZH])
@pytest.mark.parametrize("case", FETCHING)
def test_why_a_link_did_not_come_is_said_in_both_languages(case, language, world):
    world.query = f"lang={language}"

    check(FETCHING[case](world), case.partition(" ")[0], language)


FORM = "multipart/form-data; boundary=x"
# What is refused before Django sees it: type of the body, its announced length, and as
# much of it as is sent.
AHEAD: dict[str, tuple[str, int, bytes]] = {
    "request_too_large": ("application/json", 10**12, b""),
    "file_too_large": (FORM, 10**12, b""),
    "storage_full": (FORM, 10**8, b""),
    "parse_error": (FORM, 4, b"none"),
    "request_timeout": ("application/json", 4, b"{"),
    "server_busy": ("application/json", 20_000, b" " * 20_000),
}


@dataclass
class Answer:
    """What a web process answered."""

    status_code: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture
def web(media_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Host and port of a web process that has no room and no patience."""
    monkeypatch.setenv("WHISPERHUB_MIN_FREE_SPACE", "1000TiB")
    monkeypatch.setenv("WHISPERHUB_UPLOAD_SILENCE_SECONDS", "0.5")
    monkeypatch.setenv("WHISPERHUB_BODY_MEMORY", "0")
    with running_web(media_root) as address:
        yield urlsplit(address).netloc


def test_what_is_refused_before_django_is_said_in_both_languages(web):
    for code, (content_type, length, sent) in AHEAD.items():
        # A body that is awaited from a client without a key.
        path = "/login/" if code == "request_timeout" else TASKS
        for language in (EN, ZH):
            for way in ways(language):
                headers = {"Content-Type": content_type, "Content-Length": str(length)}
                with closing(HTTPConnection(web, timeout=patient(30))) as connection:
                    connection.request(
                        "POST",
                        f"{path}?{way['query']}",
                        sent,
                        {**headers, **way["headers"]},
                    )
                    got = connection.getresponse()
                    answer = Answer(got.status, got.headers, got.read())
                check(answer, code, language)


def test_a_body_that_is_nested_too_deep_is_said_in_the_language(world):
    world.query = "lang=zh"

    response = world.ask(
        "post", KEYS, data="[" * 100_000, content_type="application/json"
    )

    check(response, "parse_error", ZH)
    assert response.json()["detail"] == "请求体的嵌套层次过深。"


def test_no_code_is_forgotten():
    coded = {code for code, _status, _retryable in CODES.values()} | set(SENTENCES)
    fetching = {case.partition(" ")[0] for case in FETCHING}

    assert coded - set(CASES) - set(AHEAD) - fetching == ELSEWHERE


def test_errors_of_fields_name_the_same_fields_and_codes_in_each_language(world):
    found = []
    for language in (EN, ZH):
        world.query = f"lang={language}"
        errors_by_field = CASES["invalid"](world).json()["errors"]
        found.append(
            {
                name: [item["code"] for item in items]
                for name, items in errors_by_field.items()
            }
        )

    assert found[0] == found[1]
    assert len(found[0]) > 8


REFUSED_LIMITS = {
    "requests_per_minute": -1,
    "audio_seconds_per_day": 10**12,
    "unfinished_tasks": "many",
    "highest_priority": "urgent",
    "colour": 1,
}


@pytest.mark.parametrize("language", [EN, ZH])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", KEYS, {"name": "a", "owner": "nobody", "colour": 1}),
        ("post", KEYS, {"name": "a", "limits": REFUSED_LIMITS}),
        ("post", KEYS, {"name": "a", "limits": 5}),
        ("patch", f"{KEYS}{{key}}/", {}),
        ("patch", f"{KEYS}{{key}}/", {"limits": REFUSED_LIMITS}),
        ("get", f"{KEYS}?owner=nobody", None),
        ("get", "/api/v1/usage/?owner=nobody", None),
        ("get", "/api/v1/usage/?colour=1", None),
    ],
    ids=[
        *("owner", "limits", "no-limits", "nothing", "other-limits"),
        *("owner-of-keys", "owner-of-usage", "parameter"),
    ],
)
def test_what_is_wrong_with_limits_and_owners_is_said_in_both_languages(
    method, path, body, language, world
):
    world.query = f"lang={language}"
    key = ApiKeyFactory(owner=world.owner)
    more = {} if body is None else {"data": body, "format": "json"}

    response = world.ask(method, path.format(key=key.public_id), **more)

    check(response, "invalid", language)
    assert response.json()["errors"]


@pytest.mark.parametrize("language", [EN, ZH])
def test_who_asks_for_the_usage_of_others_is_refused_in_both_languages(language, world):
    User.objects.filter(pk=world.owner.pk).update(is_staff=False)
    world.query = f"lang={language}"

    response = world.ask("get", "/api/v1/usage/?owner=somebody")

    check(response, "invalid", language)
    (fault,) = response.json()["errors"]["owner"]
    assert fault["code"] == "staff_only"


# --- Answers that are no errors ------------------------------------------------------


def test_a_failed_task_tells_why_in_the_readers_language(world):
    said = STORED["media_too_long"]
    task = TaskFactory(
        owner=world.owner,
        failed=True,
        error_code="media_too_long",
        error_message=str(said),
        error_parts=said.parts,
    )

    for path in (f"{TASKS}{task.public_id}/", TASKS):
        body = world.client.get(path, {"lang": "zh"}).json()
        shown = body["results"][0] if "results" in body else body
        assert shown["error"] == {
            "code": "media_too_long",
            "message": "媒体时长超出允许的 86400 秒。",
        }
    english = world.client.get(f"{TASKS}{task.public_id}/").json()
    assert english["error"]["message"] == said


def test_what_readers_must_know_is_said_in_their_language(world):
    from transcription.engines.demo_model import NOTICE

    slow = Sentence("{bytes} bytes are above WHISPERHUB_SLOT_MEMORY_LIMIT.", bytes=7)
    SlotFactory(
        model="demo", notice=str(NOTICE), message=str(slow), message_parts=slow.parts
    )

    (model,) = world.client.get("/api/v1/models/", {"lang": "zh"}).json()["results"]

    assert model["notice"] == "演示模型：只认识示例中的词汇"
    assert model["message"] == "占用 7 字节，超过 WHISPERHUB_SLOT_MEMORY_LIMIT。"


def test_notices_are_said_in_the_language_of_the_request(world):
    said = Sentence(
        "The media is longer than the {seconds:g} seconds allowed.", seconds=9
    )
    notice = Notice(NoticeCode.AUDIO_MISSING, said, {"seconds": 9})
    task = TaskFactory(owner=world.owner, completed=True, notices=[notice.as_dict()])
    address = f"{TASKS}{task.public_id}/"

    for path in (address, f"{address}result/", TASKS):
        body = world.client.get(path, {"lang": "zh"}).json()
        shown = body["results"][0] if "results" in body else body
        assert shown["notices"][0] == {
            "code": "audio_missing",
            "message": "媒体时长超出允许的 9 秒。",
            "details": {"seconds": 9},
        }


@pytest.mark.parametrize("lang", ["zh-hans", "zh-CN", "en", "xx", "", "a&lang=zh"])
def test_no_operation_refuses_the_parameter(lang, world):
    key = ApiKeyFactory(owner=world.owner)
    task = TaskFactory(owner=world.owner, completed=True)
    world.query = f"lang={lang}"

    for path in (
        TASKS,
        f"{TASKS}?status=completed&limit=1",
        f"{TASKS}{task.public_id}/",
        f"{TASKS}{task.public_id}/result/",
        f"{TASKS}{task.public_id}/subtitles/?output_format=vtt",
        f"{TASKS}{task.public_id}/callbacks/",
        CALLBACKS,
        KEYS,
        f"{KEYS}{key.public_id}/",
        "/api/v1/models/",
    ):
        assert world.ask("get", path).status_code == 200, path
    assert world.submit().status_code == 201


def test_a_field_of_the_body_called_lang_is_unknown(world):
    world.query = "lang=zh"

    response = world.submit(lang="zh")

    check(response, "invalid", ZH)
    (fault,) = response.json()["errors"]["lang"]
    assert fault == {"code": "unknown_field", "message": "没有这个字段。"}


def test_the_view_that_waits_answers_in_the_language_too(world):
    response = world.client.post("/api/v1/detect-language/?lang=zh", {})

    check(response, "invalid", ZH)


def test_what_has_no_sentence_does_not_depend_on_the_language(world):
    task = TaskFactory(owner=world.owner, completed=True)

    answers = [
        world.client.get(f"{TASKS}{task.public_id}/subtitles/"),
        world.client.get("/static/admin/css/base.css"),
        world.client.delete(f"{TASKS}{task.public_id}/"),
    ]

    for answer in answers:
        assert "Content-Language" not in answer.headers
        assert "Accept-Language" not in answer.headers.get("Vary", "")
        answer.close()


def test_too_many_parameters_are_refused_and_not_a_failure(world):
    response = world.client.get(TASKS + "?" + "&".join(["a=1"] * 2000))

    assert response.status_code == 400
    assert response.json()["code"] == "bad_request"


def test_a_callback_is_in_english_whoever_sends_it(world):
    from transcription.documents.events import event_body

    said = STORED["media_too_long"]
    task = TaskFactory(
        owner=world.owner,
        failed=True,
        error_message=str(said),
        error_parts=said.parts,
    )
    callback = CallbackFactory(task=task, event=Callback.Event.TASK_FAILED)

    with translation.override(ZH):
        body = event_body(callback).decode()

    assert str(said) in body
    assert not CHINESE.search(body)
