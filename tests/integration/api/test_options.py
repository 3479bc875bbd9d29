"""The decode options in a request: three ways to send them, one form in the row."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.integration.api.conftest import TASKS
from tests.support.factories import SlotFactory
from tests.support.problems import read_problem
from transcription.engines.options import OPTION_NAMES, DecodeOptions
from transcription.models import TranscriptionTask

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

# As JSON has it, as a form has it, as the row has it.
GIVEN: list[tuple[str, Any, str, Any]] = [
    ("temperature", 0.4, "0.4", [0.4]),
    ("temperature", [0, 0.5], "0, 0.5", [0.0, 0.5]),
    ("temperature", "0,1", "[0,1]", [0.0, 1.0]),
    ("beam_size", 3, "3", 3),
    ("best_of", 11, "11", 11),
    ("patience", 1.5, "1.5", 1.5),
    ("length_penalty", 0, "0", 0.0),
    ("compression_ratio_threshold", 2, "2", 2.0),
    ("log_prob_threshold", -1.5, "-1.5", -1.5),
    ("no_speech_threshold", 0.25, ".25", 0.25),
    ("condition_on_previous_text", True, "on", True),
    ("initial_prompt", " Peter, Lucas ", " Peter, Lucas ", "Peter, Lucas"),
    ("hotwords", "東京", "東京", "東京"),
    ("word_timestamps", True, "1", True),
    ("prepend_punctuations", "¿([ ", "¿([ ", "¿([ "),
    ("append_punctuations", ".。 ", ".。 ", ".。 "),
    ("clip_timestamps", [1, 2.5, 4], "1,2.5,4", [1.0, 2.5, 4.0]),
    ("clip_timestamps", 3, "3", [3.0]),
    ("clip_timestamps", 0, "0", []),
    ("clip_timestamps", 0.0, "0.0", []),
    ("clip_timestamps", [], "[]", []),
    ("hallucination_silence_threshold", 2, "2", 2.0),
    ("hallucination_silence_threshold", 0, "0", None),
    ("vad_filter", False, "false", False),
    ("multilingual", True, "true", True),
    ("batching", "off", "OFF", "off"),
    ("audio_track", 1, "1", "1"),
    ("audio_track", "63", "063", "63"),
    ("audio_track", "eng", "English", "en"),
    (
        "vad_parameters",
        {"threshold": 0.3, "min_silence_duration_ms": 500},
        '{"threshold": 0.3, "min_silence_duration_ms": 500}',
        {"threshold": 0.3, "min_silence_duration_ms": 500},
    ),
    (
        "vad_parameters",
        {
            "neg_threshold": 0.1,
            "min_speech_duration_ms": 250,
            "max_speech_duration_s": 30,
            "speech_pad_ms": 200,
        },
        '{"neg_threshold": "0.1", "min_speech_duration_ms": "250",'
        ' "max_speech_duration_s": 30, "speech_pad_ms": 200}',
        {
            "neg_threshold": 0.1,
            "min_speech_duration_ms": 250,
            "max_speech_duration_s": 30.0,
            "speech_pad_ms": 200,
        },
    ),
]
EACH = pytest.mark.parametrize(
    ("name", "as_json", "as_text", "stored"), GIVEN, ids=lambda value: str(value)[:30]
)


@pytest.fixture
def stored_options(client, no_hints):
    """Send a form with these query parameters, and read the row."""

    def send(query: dict[str, str], **fields: str) -> Any:
        data = {"file": SimpleUploadedFile("a.wav", b"sound"), **fields}
        address = f"{TASKS}?{urlencode(query)}"
        response = client.post(address, data, format="multipart")
        assert response.status_code == 201, response.content
        task: Any = TranscriptionTask.objects.get()
        assert response.json()["options"] == task.options
        # What is in the row is what the engine understands.
        DecodeOptions.from_dict(task.options)
        stored: dict[str, Any] = task.options
        return stored

    return send


def test_every_option_is_among_them():
    assert {name for name, *_ in GIVEN} == OPTION_NAMES


@EACH
def test_an_option_as_a_form_field(stored_options, name, as_json, as_text, stored):
    assert stored_options({}, **{name: as_text}) == {name: stored}


@EACH
def test_an_option_as_a_query_parameter(stored_options, name, as_json, as_text, stored):
    assert stored_options({name: as_text}) == {name: stored}


@EACH
def test_an_option_as_json(client, no_hints, name, as_json, as_text, stored):
    body = {"file_url": "https://example.org/a.mp3", name: as_json}

    response = client.post(TASKS, body, format="json")

    assert response.json()["options"] == {name: stored}


@pytest.mark.parametrize(
    ("name", "as_json"),
    [
        ("compression_ratio_threshold", None),
        ("log_prob_threshold", None),
        ("no_speech_threshold", None),
        ("hallucination_silence_threshold", None),
        ("vad_parameters", {"neg_threshold": None, "max_speech_duration_s": None}),
    ],
)
def test_what_can_be_off_is_off_with_null(client, no_hints, name, as_json):
    body = {"file_url": "https://example.org/a.mp3", name: as_json}

    response = client.post(TASKS, body, format="json")

    assert response.json()["options"] == {name: as_json}


@pytest.mark.parametrize(
    "name",
    [
        "compression_ratio_threshold",
        "hallucination_silence_threshold",
        "log_prob_threshold",
        "no_speech_threshold",
    ],
)
def test_a_form_says_null_in_a_word(stored_options, name):
    assert stored_options({}, **{name: "null"}) == {name: None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("language", ""),
        ("task_type", ""),
        ("batching", ""),
        ("temperature", ""),
        ("beam_size", ""),
        ("callback_url", ""),
        ("platform", 7),
        ("model", True),
        ("initial_prompt", 1.5),
        ("hotwords", ["word"]),
    ],
    ids=str,
)
def test_json_means_what_it_says(client, no_hints, name, value):
    body = {"file_url": "https://example.org/a.mp3", name: value}

    response = client.post(TASKS, body, format="json")

    assert name in read_problem(response, 400, "invalid")["errors"]


@pytest.mark.parametrize("name", ["initial_prompt", "hotwords"])
def test_an_empty_prompt_is_none(client, no_hints, name):
    body = {"file_url": "https://example.org/a.mp3", name: ""}

    response = client.post(TASKS, body, format="json")

    assert response.status_code == 201


@pytest.mark.parametrize("name", sorted(OPTION_NAMES))
def test_an_empty_field_of_a_form_was_left_alone(stored_options, name):
    assert stored_options({}, **{name: ""}) == {}


@pytest.mark.parametrize(
    "value", [-1, 64, 1.5, True, "-1", "64", "one", "qq", [0]], ids=repr
)
def test_a_track_is_a_number_or_a_language(client, no_hints, value):
    body = {"file_url": "https://example.org/a.mp3", "audio_track": value}

    response = client.post(TASKS, body, format="json")

    assert "audio_track" in read_problem(response, 400, "invalid")["errors"]


def test_the_body_overrules_the_query(stored_options):
    query = {"beam_size": "2", "best_of": "3"}

    assert stored_options(query, beam_size="4") == {"beam_size": 4, "best_of": 3}


def test_language_and_task_may_stand_in_the_query(stored_options):
    stored_options({"language": "ES", "task_type": "translate"})

    task = TranscriptionTask.objects.get()
    assert (task.language, task.task_type) == ("es", "translate")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("auto", ""),
        ("AUTO", ""),
        ("english", "en"),
        ("Chinese", "zh"),
        ("ZH", "zh"),
        ("zh-CN", "zh"),
        ("fr-FR", "fr"),
        ("nn-NO", "nn"),
        ("zh-yue", "yue"),
        (" Haitian  Creole ", "ht"),
    ],
)
def test_a_language_is_understood_as_people_write_it(
    client, no_hints, stored_options, given, code
):
    stored_options({}, language=given)
    client.post(
        TASKS, {"file_url": "https://example.org/a", "language": given}, format="json"
    )

    assert [task.language for task in TranscriptionTask.objects.all()] == [code, code]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"best_of": 20}, 105),
        ({"temperature": [number / 10 for number in range(10)], "best_of": 20}, 185),
        ({"temperature": [1] * 10, "best_of": 20}, 200),
        ({"temperature": [0] * 4, "beam_size": 16}, 64),
    ],
    ids=str,
)
def test_the_work_on_a_window_is_bounded(client, no_hints, options, asked):
    body = {"file_url": "https://example.org/a.mp3", **options}

    response = client.post(TASKS, body, format="json")

    (error,) = read_problem(response, 400, "invalid")["errors"]["temperature"]
    assert error["code"] == "too_many_hypotheses"
    assert f"ask for {asked} " in error["message"]


@pytest.mark.parametrize(
    "options",
    [
        {"best_of": 20, "temperature": [0, 0.4, 0.8]},
        {"best_of": 5, "temperature": [number / 10 for number in range(10)]},
        {"beam_size": 20, "patience": 10},
    ],
    ids=str,
)
def test_options_of_ordinary_cost_are_taken(client, no_hints, options):
    body = {"file_url": "https://example.org/a.mp3", **options}

    assert client.post(TASKS, body, format="json").status_code == 201


def test_a_refused_language_is_told_in_a_sentence(client, no_hints):
    body = {"file_url": "https://example.org/a.mp3", "language": "klingon"}

    response = client.post(TASKS, body, format="json")

    (error,) = read_problem(response, 400, "invalid")["errors"]["language"]
    assert error["code"] == "invalid_choice"
    assert len(error["message"]) < 150


def test_a_repeated_field_is_a_list(client, no_hints):
    data = {"file": SimpleUploadedFile("a.wav", b"x"), "temperature": ["0", "0.5"]}

    client.post(TASKS, data, format="multipart")

    assert TranscriptionTask.objects.get().options == {"temperature": [0.0, 0.5]}


# --- What is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("task_type", "sing", ["transcribe", "translate"]),
        ("language", "klingon", ["klingon", "code", "English", "auto"]),
        ("language", "x" * 101, ["100"]),
        ("language", "zh--CN", ["zh--CN"]),
        ("priority", "urgent", ["high", "normal", "low"]),
        ("temperature", "1.5", ["0", "1"]),
        ("temperature", "-0.1", ["0", "1"]),
        ("temperature", "nan", ["0", "1"]),
        ("temperature", "warm", ["number"]),
        ("temperature", "[]", ["number"]),
        ("temperature", ",", ["number"]),
        ("temperature", "0" + ",0" * 10, ["10"]),
        ("beam_size", "0", ["1"]),
        ("beam_size", "21", ["20"]),
        ("beam_size", "2.5", ["integer"]),
        ("best_of", "0", ["1"]),
        ("best_of", "21", ["20"]),
        ("patience", "0", ["0.1"]),
        ("patience", "11", ["10"]),
        ("patience", "nan", ["number"]),
        ("length_penalty", "-1", ["0"]),
        ("length_penalty", "2", ["1"]),
        ("length_penalty", "nan", ["number"]),
        ("compression_ratio_threshold", "-1", ["0"]),
        ("compression_ratio_threshold", "101", ["100"]),
        ("compression_ratio_threshold", "NaN", ["number"]),
        ("log_prob_threshold", "0.1", ["0"]),
        ("log_prob_threshold", "-101", ["-100"]),
        ("no_speech_threshold", "1.1", ["1"]),
        ("no_speech_threshold", "inf", ["number"]),
        ("condition_on_previous_text", "perhaps", ["boolean"]),
        ("initial_prompt", "x" * 2001, ["2000"]),
        ("hotwords", "x" * 2001, ["2000"]),
        ("word_timestamps", "2", ["boolean"]),
        ("prepend_punctuations", "." * 101, ["100"]),
        ("append_punctuations", "." * 101, ["100"]),
        ("clip_timestamps", "-1", ["0", "86400"]),
        ("clip_timestamps", "3,2", ["rise"]),
        ("clip_timestamps", "1,1", ["rise"]),
        ("clip_timestamps", "0:30", ["number"]),
        ("clip_timestamps", "1,2,2.5,2.9", ["2.5", "2.9", "0.5"]),
        ("hallucination_silence_threshold", "-1", ["0"]),
        ("hallucination_silence_threshold", "3601", ["3600"]),
        ("hallucination_silence_threshold", "nan", ["number"]),
        ("vad_filter", "perhaps", ["boolean"]),
        ("batching", "sometimes", ["auto", "off"]),
        ("vad_parameters", "0.5", ["object"]),
        ("vad_parameters", "{", ["object"]),
        ("vad_parameters", "[]", ["object"]),
        ("vad_parameters.threshold", 1.5, ["1"]),
        ("vad_parameters.threshold", "nan", ["number"]),
        ("vad_parameters.neg_threshold", -1, ["0"]),
        ("vad_parameters.min_speech_duration_ms", -1, ["0"]),
        ("vad_parameters.max_speech_duration_s", 0, ["1"]),
        ("vad_parameters.min_silence_duration_ms", 60_001, ["60000"]),
        ("vad_parameters.speech_pad_ms", 10_001, ["10000"]),
        ("vad_parameters.foo", 1, ["no such field"]),
        ("foo", "1", ["no such field"]),
        ("task", "translate", ["no such field"]),
    ],
)
def test_a_refused_value_is_named_with_what_is_allowed(submit, name, value, words):
    field, _, member = name.partition(".")
    given = json.dumps({member: value}) if member else value

    body = read_problem(submit(**{field: given}), 400, "invalid")

    assert list(body["errors"]) == [name]
    message = body["errors"][name][0]["message"]
    assert all(word in message for word in words), message
    assert not TranscriptionTask.objects.exists()


def test_numbers_that_json_does_not_have_are_refused_in_a_form(submit):
    response = submit(vad_parameters='{"threshold": NaN}')

    body = read_problem(response, 400, "invalid")
    assert list(body["errors"]) == ["vad_parameters.threshold"]


def test_padding_must_leave_room_for_speech(submit):
    given = {"max_speech_duration_s": 2, "speech_pad_ms": 1000}

    body = read_problem(submit(vad_parameters=json.dumps(given)), 400, "invalid")

    assert list(body["errors"]) == ["vad_parameters.max_speech_duration_s"]
    assert "speech_pad_ms" in str(body["errors"])


@pytest.mark.parametrize("name", ["initial_prompt", "beam_size", "vad_filter"])
def test_null_is_no_value_of_what_cannot_be_off(client, name):
    body = {"file_url": "https://example.org/a.mp3", name: None}

    problem = read_problem(client.post(TASKS, body, format="json"), 400, "invalid")

    assert list(problem["errors"]) == [name]


@pytest.fixture
def openai(db: None) -> None:
    SlotFactory(model="small", engine="openai-whisper")


def test_all_options_that_the_engine_lacks_are_named(submit, openai):
    response = submit(
        model="small", hotwords="a", vad_filter="true", vad_parameters="{}", beam_size=1
    )

    body = read_problem(response, 400, "unsupported_option")
    assert sorted(body["errors"]) == ["hotwords", "vad_filter", "vad_parameters"]
    assert all(name in body["detail"] for name in body["errors"])


def test_a_language_that_the_model_lacks_is_refused(submit):
    SlotFactory(model="base", languages=["en", "zh"])

    response = submit(model="base", language="Cantonese")

    body = read_problem(response, 400, "unsupported_language")
    assert list(body["errors"]) == ["language"]
    assert "'yue'" in body["detail"]
    assert "/api/v1/models/" in body["detail"]
    assert submit(model="base", language="zh-HK").status_code == 201


@pytest.mark.parametrize("option", [{"task_type": "translate"}, {"multilingual": "1"}])
def test_a_model_of_english_alone_does_not_translate(submit, option):
    SlotFactory(model="base.en", languages=["en"])

    response = submit(model="base.en", **option)

    assert list(read_problem(response, 400, "unsupported_task")["errors"]) == ["model"]
    assert submit(model="base.en").status_code == 201


def test_one_language_and_several_are_not_asked_for_together(submit):
    response = submit(language="en", multilingual="true")

    (error,) = read_problem(response, 400, "invalid")["errors"]["language"]
    assert error["code"] == "conflict"
    assert submit(language="auto", multilingual="true").status_code == 201
    assert submit(language="en", multilingual="false").status_code == 201


def test_openai_whisper_has_one_language_for_all(submit, openai):
    response = submit(model="small", multilingual="true")

    body = read_problem(response, 400, "unsupported_option")
    assert list(body["errors"]) == ["multilingual"]
    assert submit(model="small", multilingual="false").status_code == 201


def test_what_the_engine_does_anyway_may_be_asked_for(submit, openai):
    response = submit(model="small", vad_filter="false")

    assert response.status_code == 201
    assert response.json()["options"] == {"vad_filter": False}


def test_options_of_transcription_are_none_of_detection(client, no_hints):
    data = {"file": SimpleUploadedFile("a.wav", b"sound"), "beam_size": "2"}

    response = client.post("/api/v1/detect-language/", data, format="multipart")

    body = read_problem(response, 400, "invalid")
    assert list(body["errors"]) == ["beam_size"]
