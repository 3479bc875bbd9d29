"""The OpenAPI document in both languages, and the examples in it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.management import call_command
from django.utils.translation import override
from jsonschema import Draft202012Validator

from tests.support.openapi import (
    json_schema,
    operations,
    read_document,
    texts,
    without_texts,
)

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

CHINESE = re.compile("[一-鿿]")
# Names, and codes that examples are called by.
NAMES = re.compile(r"WhisperHub|SubRip|WebVTT|[a-z]+(_[a-z]+)*")
EXAMPLE_OF_PROBLEM = re.compile(r"/responses/[45]\d\d/content/.*/examples/[a-z_]+/")


@pytest.fixture(scope="module", params=["en", "zh-hans"])
def language(request) -> str:
    return str(request.param)


def test_every_text_of_the_chinese_document_is_chinese(stranger):
    found = list(texts(read_document(stranger, "zh-hans")))

    assert len(found) > 400
    english = [
        (place, text)
        for place, text in found
        for paragraph in text.split("\n")
        if paragraph
        and not CHINESE.search(paragraph)
        and not (place.endswith(("/summary", "/title")) and NAMES.fullmatch(text))
    ]
    assert english == []


def test_no_text_of_the_english_document_is_chinese(stranger):
    for place, text in texts(read_document(stranger, "en")):
        assert not CHINESE.search(text), place


def test_the_documents_differ_in_texts_only(stranger):
    english, chinese = (read_document(stranger, name) for name in ("en", "zh-hans"))

    assert english != chinese
    assert without_texts(english) == without_texts(chinese)


def test_the_document_builds_in_each_language_without_a_warning(language, tmp_path):
    with override(language):
        call_command(
            "spectacular",
            "--validate",
            "--fail-on-warn",
            "--file",
            str(tmp_path / "document.yaml"),
        )


def test_no_operation_and_no_parameter_is_without_a_text(stranger, language):
    for name, operation in operations(read_document(stranger, language)):
        assert operation["summary"], name
        assert operation["description"], name
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)


def examples(operation: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Place, schema and value of each example of an operation."""
    bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
    return [
        (f"{place} {media_type} {key}", media["schema"], example["value"])
        for place, body in bodies.items()
        for media_type, media in body.get("content", {}).items()
        for key, example in media.get("examples", {}).items()
    ]


def test_every_operation_shows_each_of_its_bodies(stranger):
    """An entry in `transcription.api.examples` is what is missing where this fails."""
    missing = []
    for name, operation in operations(read_document(stranger)):
        content = operation.get("requestBody", {}).get("content", {})
        if content and not any("examples" in media for media in content.values()):
            missing.append(f"{name}: request")
        missing += [
            f"{name}: {status} {media_type}"
            for status, response in operation["responses"].items()
            for media_type, media in response.get("content", {}).items()
            if not media.get("examples")
        ]
        assert examples(operation), name
    assert missing == []


def test_every_example_is_what_its_schema_says(stranger, language):
    document = read_document(stranger, language)
    count = 0
    for name, operation in operations(document):
        for place, schema, value in examples(operation):
            validator = Draft202012Validator(json_schema(schema, document))
            errors = [error.message for error in validator.iter_errors(value)]
            assert not errors, (name, place)
            count += 1
    assert count > 100


def test_examples_of_problems_carry_their_status_and_the_language(stranger, language):
    for name, operation in operations(read_document(stranger, language)):
        for status, response in operation["responses"].items():
            if not status.startswith("4"):
                continue
            for media in response["content"].values():
                for code, example in media["examples"].items():
                    value = example["value"]
                    assert value["status"] == int(status), (name, code)
                    assert value["code"] == code, name
                    in_chinese = bool(CHINESE.search(value["detail"]))
                    assert in_chinese == (language == "zh-hans"), (name, code)


def test_every_operation_takes_a_language(stranger):
    for name, operation in operations(read_document(stranger)):
        if not name.startswith("callback"):
            names = [parameter["name"] for parameter in operation["parameters"]]
            assert names.count("lang") == 1, name
