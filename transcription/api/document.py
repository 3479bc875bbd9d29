"""The OpenAPI document in the language of a request, with an example of each answer.

Its texts are English in the code: summaries and descriptions of operations, help texts,
docstrings of serializers. They are translated here, in the finished document, a
paragraph at a time; `tools.messages` takes what is to be translated from the same
place. So whatever the document says is in the catalogue, and nobody has to mark it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.utils.translation import gettext
from drf_spectacular.plumbing import normalize_result_object

from transcription.api.examples import EXAMPLES
from transcription.api.openapi import ApiSchema
from transcription.api.problem_examples import problem_examples
from whisperhub.web import languages

PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
# Hold texts for people.
TEXTS: Final = frozenset({"summary", "description", "x-displayName"})
# Hold values for programs, whatever their members are called.
VALUES: Final = frozenset({"example", "value", "default", "enum", "x-required-scope"})
# Hold things by their names, which may be any word.
NAMESPACES: Final = frozenset(
    {"properties", "schemas", "responses", "examples", "headers", "callbacks", "paths"}
)
# What drf-spectacular writes of a choice.
CHOICE: Final = re.compile(r"\* `(?P<value>.*)` - (?P<label>.+)")
LANGUAGE: Final[dict[str, Any]] = {
    "name": languages.PARAMETER,
    "in": "query",
    "schema": {"type": "string"},
    "description": (
        "Language of the sentences in the answer: `en` or `zh-hans`. Left out, or "
        "another: as Accept-Language has it."
    ),
}


class DocumentedSchema(ApiSchema):
    """Takes the examples of an operation from the table of `examples`."""

    def get_examples(self) -> list[Any]:
        """Those of the table, where a view gives none of its own."""
        return list(EXAMPLES.get(self.get_operation_id(), ()))


def finish(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: completes the document, in the current language."""
    document: dict[str, Any] = normalize_result_object(result)  # type: ignore[no-untyped-call]
    complete(document)
    say(document, gettext)
    return document


def complete(document: dict[str, Any]) -> None:
    """Add what all operations have in common: the language, examples of problems."""
    for methods in document["paths"].values():
        for operation in methods.values():
            _name_examples(operation.get("requestBody", {}))
            for status, response in operation["responses"].items():
                _name_examples(response)
                _add_problems(status, response, operation)
                if not response["description"]:
                    response["description"] = HTTPStatus(int(status)).phrase
            operation.setdefault("parameters", []).append(dict(LANGUAGE))


def _name_examples(body: dict[str, Any]) -> None:
    """Give each example a text: its key is for programs."""
    for media in body.get("content", {}).values():
        for name, example in media.get("examples", {}).items():
            example.setdefault("summary", name)


def _add_problems(
    status: str, response: dict[str, Any], operation: dict[str, Any]
) -> None:
    for media in response.get("content", {}).values():
        if media.get("schema") == PROBLEM:
            made = problem_examples(status, response["description"], operation)
            media["examples"] = {**made, **media.get("examples", {})}


def say(document: Any, translate: Callable[[str], str]) -> None:
    """Replace every text of a document, or of a part of it, by its translation.

    Args:
        document: changed in place.
        translate: called with each paragraph and each label of a choice.
    """
    _say_members(document, translate, by_name=False)


def _say_members(node: Any, translate: Callable[[str], str], *, by_name: bool) -> None:
    if isinstance(node, list):
        for item in node:
            _say_members(item, translate, by_name=False)
    if not isinstance(node, dict):
        return
    for key, value in list(node.items()):
        if by_name:
            _say_members(value, translate, by_name=False)
        elif key in TEXTS and isinstance(value, str):
            node[key] = _said(value, translate)
            if not node[key] and key != "description":
                del node[key]
        elif key not in VALUES:
            _say_members(value, translate, by_name=key in NAMESPACES)


def _said(text: str, translate: Callable[[str], str]) -> str:
    paragraphs = (
        _choices(paragraph, translate)
        if CHOICE.match(paragraph)
        else (translate(paragraph) if paragraph else "")
        for paragraph in text.split("\n\n")
    )
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _choices(paragraph: str, translate: Callable[[str], str]) -> str:
    """What each choice means; nothing where each means its own word."""
    choices = [
        (match["value"], match["label"])
        for line in paragraph.split("\n")
        if (match := CHOICE.fullmatch(line))
    ]
    if all(value == label for value, label in choices):
        return ""
    return "\n".join(f"* `{value}` - {translate(label)}" for value, label in choices)
