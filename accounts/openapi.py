"""How the OpenAPI document describes keys and the scope of each operation.

The schema class of the API is derived from the one below, and so brings the schemes of
authentication with it. Processes that build no document do not load the library: it is
a third of what a start of theirs takes.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from accounts.permissions import HasScope, required_scope
from accounts.throttling import LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER

REQUIRED_SCOPE = "x-required-scope"
RETRY_HEADER = "Retry-After"
RATE_HEADERS = (LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER)
HEADERS = {
    LIMIT_HEADER: "Requests that may come at once, if the key has a rate.",
    REMAINING_HEADER: "How many of them may still come.",
    RESET_HEADER: "Seconds until all of them may come again.",
    RETRY_HEADER: "Seconds to wait before the next try.",
}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """An HTTP bearer scheme."""

    target_class = "accounts.authentication.ApiKeyAuthentication"
    name = "apiKey"
    priority = 1

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        """What clients send."""
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "API key",
            "description": (
                "`Authorization: Bearer whk_…`. A key has scopes: `read` to see tasks "
                "and results, `write` to submit, change and delete tasks, `admin` to "
                f"manage keys (staff only). Each operation names its own in "
                f"`{REQUIRED_SCOPE}`; a key without it gets 403 with the code "
                "`insufficient_scope`."
            ),
        }


class OpenModeScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """No key at all, in a document of a service in open mode."""

    target_class = "accounts.authentication.OpenModeAuthentication"
    name: list[str] = []

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        """Nothing is required as well, or this is no way in."""
        return [{}] if settings.OPEN_MODE else []

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        """There is nothing to send."""
        return []


class ScopedSchema(AutoSchema):
    """Tells with each operation which scope it needs.

    Not in `security`: OpenAPI 3.0 allows names there for OAuth only.
    """

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation with its scope, for programs and for people."""
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None or HasScope not in map(type, self.view.get_permissions()):
            return operation
        scope = required_scope(self.view, self.method).value
        operation[REQUIRED_SCOPE] = scope
        told = f"Needs the scope `{scope}`."
        described = operation.get("description")
        operation["description"] = f"{described}\n\n{told}" if described else told
        add_rate(operation["responses"])
        return operation


def add_rate(responses: dict[str, Any]) -> None:
    """Add to the answers of an operation what the rate of a key brings with it."""
    told = "Too many requests of this key (`rate_limit_exceeded`)."
    alike = {**deepcopy(responses["401"]), "description": ""}
    refused = responses.setdefault("429", alike)
    described = refused["description"]
    # A paragraph of its own: the document is translated by paragraphs.
    refused["description"] = f"{described}\n\n{told}" if described else told
    refused.setdefault("headers", {})[RETRY_HEADER] = _header(RETRY_HEADER)
    for code, response in responses.items():
        if code.startswith("2") or code == "429":
            response.setdefault("headers", {}).update(
                {name: _header(name) for name in RATE_HEADERS}
            )


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


def describe_headers(result: dict[str, Any], **_others: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: what the headers mean, once for all operations."""
    result["components"]["headers"] = {
        name: {
            "description": told,
            "schema": {"type": "integer", "minimum": int(name == RETRY_HEADER)},
        }
        for name, told in HEADERS.items()
    }
    return result
