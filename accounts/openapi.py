"""How the OpenAPI document describes keys and the scope of each operation."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from accounts.permissions import HasScope, required_scope

REQUIRED_SCOPE = "x-required-scope"


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
        return operation
