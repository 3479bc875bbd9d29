"""The OpenAPI document as a client reads it, and its schemas for a validator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.test import Client

SCHEMA = "/api/v1/schema/"
# Their members are values for programs, whatever they are called.
VALUES = {"value", "example", "default", "enum"}
TEXTS = {"summary", "description", "title", "x-displayName"}


def read_document(client: Client, language: str = "en") -> dict[str, Any]:
    """The document in a language."""
    response = client.get(
        SCHEMA, {"lang": language}, headers={"Accept": "application/json"}
    )
    if response.status_code != 200:
        response = client.get(
            SCHEMA,
            {"lang": language},
            headers={"Accept": "application/vnd.oai.openapi+json"},
        )
    assert response.status_code == 200, response.content
    document: dict[str, Any] = response.json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation with its name, and each that a receiver has to offer."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation
            for name, paths in operation.get("callbacks", {}).items():
                for methods_there in paths.values():
                    for callback in methods_there.values():
                        yield f"callback {name}", callback


def texts(node: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text for people, with its place."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from texts(item, f"{place}/{number}")
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in TEXTS and isinstance(value, str):
                yield f"{place}/{key}", value
            elif not (key in VALUES and place.rpartition("/")[2] != "properties"):
                yield from texts(value, f"{place}/{key}")


def without_texts(node: Any) -> Any:
    """The same without what is for people."""
    if isinstance(node, list):
        return [without_texts(item) for item in node]
    if isinstance(node, dict):
        return {
            key: without_texts(value)
            for key, value in node.items()
            if not (key in {*TEXTS, "detail", "message"} and isinstance(value, str))
        }
    return node


def json_schema(schema: Any, document: dict[str, Any]) -> Any:
    """A schema for a validator: null is a type, and no member may be unknown."""
    components = {
        name: _converted(component)
        for name, component in document["components"]["schemas"].items()
    }
    return {**_converted(schema), "components": {"schemas": components}}


def _converted(node: Any) -> Any:
    if isinstance(node, list):
        return [_converted(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _converted(value) for key, value in node.items()}
    if made.get("type") == "object" and "properties" in made:
        made.setdefault("additionalProperties", False)
    if made.pop("nullable", False) is True:
        return {"anyOf": [made, {"type": "null"}]}
    return made
