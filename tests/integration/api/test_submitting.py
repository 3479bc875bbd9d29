"""POST /api/v1/tasks/ and what it refuses."""

from __future__ import annotations

import hashlib
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.integration.api.conftest import TASKS
from tests.support.factories import SlotFactory
from tests.support.problems import read_problem
from tests.support.stored_files import TaskFiles, tasks_root
from transcription.media.types import AllowedTypes
from transcription.models import TranscriptionTask

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("each_storage")
def test_a_recording_becomes_a_task(submit, owner, client, settings):
    response = submit(b"sound", file_name="talk.mp3", language="en", platform="web")

    assert response.status_code == 201, response.content
    body = response.json()
    task = TranscriptionTask.objects.get()
    assert body["id"] == str(task.public_id)
    assert task.owner == owner
    assert (body["status"], body["priority"]) == ("preparing", "normal")
    assert (body["task_type"], body["language"]) == ("transcribe", "en")
    assert (body["file_name"], body["file_size_bytes"]) == ("talk.mp3", 5)
    assert body["platform"] == "web"
    assert body["error"] is None
    assert body["progress"] == {"share": 0.0, "seconds_done": None, "updated_at": None}
    assert response.headers["Location"] == body["links"]["self"]
    assert client.get(body["links"]["self"]).json()["id"] == body["id"]
    assert TaskFiles(task.public_id).original.read_bytes() == b"sound"
    assert str(settings.MEDIA_ROOT) not in response.content.decode()


@pytest.mark.parametrize("priority", ["HIGH", "High", "high"])
def test_the_priority_may_be_written_in_any_case(submit, priority):
    assert submit(priority=priority).json()["priority"] == "high"


def test_options_are_kept_as_they_were_given(submit):
    body = submit(word_timestamps="true", beam_size="1").json()

    assert body["options"] == {"word_timestamps": True, "beam_size": 1}


def test_the_model_may_be_named(submit):
    SlotFactory(model="small")

    assert submit(model="small").json()["model"] == "small"


@pytest.mark.parametrize(
    ("fields", "name", "code"),
    [
        ({"langauge": "en"}, "langauge", "unknown_field"),
        ({"language": "klingon"}, "language", "invalid_choice"),
        ({"language": "xx"}, "language", "invalid_choice"),
        ({"priority": "urgent"}, "priority", "invalid_choice"),
        ({"task_type": "summarise"}, "task_type", "invalid_choice"),
        ({"task_type": "detect_language"}, "task_type", "invalid_choice"),
        ({"beam_size": "0"}, "beam_size", "min_value"),
        ({"beam_size": "many"}, "beam_size", "invalid"),
        ({"word_timestamps": "perhaps"}, "word_timestamps", "invalid"),
        ({"platform": "x" * 51}, "platform", "max_length"),
        ({"model": "a\x00b"}, "model", "null_characters_not_allowed"),
    ],
)
def test_a_bad_field_is_named(submit, fields, name, code):
    body = read_problem(submit(**fields), 400, "invalid")

    assert list(body["errors"]) == [name]
    (error,) = body["errors"][name]
    assert error["code"] == code
    assert error["message"]
    assert not TranscriptionTask.objects.exists()


def test_several_bad_fields_are_all_named(submit):
    body = read_problem(submit(priority="urgent", language="xx"), 400, "invalid")

    assert set(body["errors"]) == {"priority", "language"}


def test_a_request_without_media_is_refused(submit):
    body = read_problem(submit(None), 400, "invalid")

    assert list(body["errors"]) == ["file"]


def test_an_empty_file_is_refused(submit):
    read_problem(submit(b""), 400, "empty_file")


def test_text_in_place_of_a_file_is_refused(submit):
    body = read_problem(submit(None, file="speech.wav"), 400, "invalid")

    assert list(body["errors"]) == ["file"]


def test_two_sources_are_refused(submit):
    body = read_problem(submit(file_url="https://example.org/a.mp3"), 400, "invalid")

    assert body["errors"]["file_url"][0]["code"] == "two_sources"


def test_two_files_are_refused(client, no_hints):
    files = [SimpleUploadedFile(name, b"sound") for name in ("a.wav", "b.wav")]

    response = client.post(TASKS, {"file": files}, format="multipart")

    read_problem(response, 400, "bad_request")
    assert not TranscriptionTask.objects.exists()
    assert not tasks_root().exists()


def test_a_file_in_a_field_of_another_name_is_refused(client, no_hints):
    upload = SimpleUploadedFile("a.wav", b"sound")

    response = client.post(TASKS, {"audio": upload}, format="multipart")

    body = read_problem(response, 400, "invalid")
    assert body["errors"]["audio"][0]["code"] == "unknown_field"


def test_a_file_above_the_limit_is_refused(submit, settings):
    settings.MAX_UPLOAD_BYTES = 4

    read_problem(submit(b"sound"), 413, "file_too_large")


@pytest.mark.parametrize("path", [TASKS, "/api/v1/detect-language/"])
def test_a_file_of_a_type_that_is_not_allowed_is_refused(
    client, no_hints, settings, path
):
    settings.ALLOWED_TYPES = AllowedTypes(("mp3", "m4a"))
    upload = SimpleUploadedFile("Talk.WAV", b"sound")

    response = client.post(path, {"file": upload}, format="multipart")

    body = read_problem(response, 415, "type_not_allowed")
    assert "type .wav. It accepts: mp3, m4a." in body["detail"]
    assert not TranscriptionTask.objects.exists()
    assert not tasks_root().exists()


def test_an_unknown_model_is_refused_with_the_served_ones(submit):
    SlotFactory(model="small")

    body = read_problem(submit(model="huge"), 400, "unknown_model")

    assert "small" in body["detail"]


def test_an_option_that_the_engine_lacks_is_named(submit):
    SlotFactory(model="small", engine="openai-whisper")

    response = submit(model="small", hotwords="Tokyo")

    body = read_problem(response, 400, "unsupported_option")
    assert list(body["errors"]) == ["hotwords"]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"null", "application/json"),
        (b"5", "application/json"),
        (b'"text"', "application/json"),
        (b"[]", "application/json"),
        (b"[1, 2]", "application/json"),
        (b"[{}]", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'{"file": {"a": 1}}', "application/json"),
        (b'{"language": ["en"], "file": 1}', "application/json"),
        (b'{"priority": {}, "model": []}', "application/json"),
        (b'{"vad_parameters": [], "temperature": {}}', "application/json"),
        (b'{"temperature": [[0]], "clip_timestamps": "a"}', "application/json"),
        (b'{"beam_size": 1e400, "patience": NaN}', "application/json"),
        (b"no boundary", "multipart/form-data"),
        (b"no parts", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"a=1&b", "application/x-www-form-urlencoded"),
        (b"%ff=%ff&file=%00", "application/x-www-form-urlencoded"),
    ],
)
def test_a_malformed_body_is_a_problem_of_the_client(client, content, content_type):
    response = client.generic("POST", TASKS, content, content_type)

    assert response.status_code == 400, response.content[:500]
    read_problem(response, 400, json.loads(response.content)["code"])


def test_a_body_of_another_kind_is_refused(client):
    response = client.generic("POST", TASKS, b"sound", "audio/mpeg")

    read_problem(response, 415, "unsupported_media_type")


def test_too_many_fields_are_refused(client):
    body = "&".join(f"f{number}=1" for number in range(2000))

    response = client.generic("POST", TASKS, body, "application/x-www-form-urlencoded")

    read_problem(response, 400, "bad_request")


def test_json_with_too_many_fields_is_refused_as_a_form_is(client):
    fields = {f"field{number}": 1 for number in range(50_000)}
    # Beside each other, inside of others, and as a list.
    for body in (
        fields,
        {"vad_parameters": [{"a": 1}] * 600},
        {"temperature": [0] * 400_000},
    ):
        response = client.post(TASKS, body, format="json")

        problem = read_problem(response, 400, "bad_request")
        assert "1000" in problem["detail"]
        assert len(response.content) < 1000


@pytest.mark.parametrize("nested", [False, True])
def test_of_many_unknown_fields_ten_are_named(client, nested):
    fields = {f"field{number:03}": 1 for number in range(900)}

    response = client.post(
        TASKS, {"vad_parameters": fields} if nested else fields, format="json"
    )

    errors = read_problem(response, 400, "invalid")["errors"]
    prefix = "vad_parameters." if nested else ""
    named = [name for name in errors if name.startswith(f"{prefix}field")]
    assert named == [f"{prefix}field{number:03}" for number in range(10)]
    (count,) = errors[f"{prefix}non_field_errors"]
    assert count["message"].startswith("900 fields")


LONG = "x" * 400_000


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({LONG: 1}, id="a name"),
        pytest.param({"priority": LONG}, id="a choice"),
        pytest.param({"priority": {"a": LONG}}, id="an object for a choice"),
        pytest.param({"priority": [[]] * 900}, id="a list for a choice"),
        pytest.param({"task_type": 10**4000}, id="a number for a choice"),
        pytest.param({"model": LONG, "platform": LONG}, id="texts"),
        pytest.param({"beam_size": LONG, "patience": LONG}, id="text for a number"),
        pytest.param({"vad_parameters": LONG}, id="text for an object"),
        pytest.param({"vad_parameters": {LONG: 1}}, id="a name in an object"),
        pytest.param({"temperature": [LONG], "reuse": LONG}, id="others"),
        pytest.param({"file_url": f"https://{LONG}"}, id="a link"),
        pytest.param({"callback_headers": {LONG: "1"}}, id="a header"),
        pytest.param({"file": LONG, "language": LONG}, id="a file"),
    ],
)
def test_a_refusal_repeats_only_the_beginning_of_what_was_sent(client, body):
    response = client.post(TASKS, body, format="json")

    read_problem(response, 400, "invalid")
    assert len(response.content) < 10_000


def test_a_long_content_type_is_not_repeated(client):
    response = client.generic("POST", TASKS, b"x", f"audio/{LONG[:60_000]}")

    read_problem(response, 415, "unsupported_media_type")
    assert len(response.content) < 10_000


def test_the_request_id_goes_with_the_task(client, no_hints):
    upload = SimpleUploadedFile("a.wav", b"sound")
    client.post(
        TASKS, {"file": upload}, format="multipart", headers={"X-Request-ID": "mine"}
    )

    assert TranscriptionTask.objects.get().request_id == "mine"


# --- Results that are there already --------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "by_default", "expected"),
    [
        ({"reuse": "true"}, False, True),
        ({}, False, False),
        ({}, True, True),
        ({"reuse": "false"}, True, False),
    ],
    ids=["asked-for", "default", "operators-default", "not-wanted"],
)
def test_a_client_says_whether_an_older_result_will_do(
    submit, settings, fields, by_default, expected
):
    settings.REUSE_RESULTS = by_default

    body = submit(**fields).json()

    assert (body["reuse"], body["reused_from"]) == (expected, None)
    task = TranscriptionTask.objects.get()
    assert task.reuse == expected
    assert task.media_sha256 == hashlib.sha256(b"sound").hexdigest()
