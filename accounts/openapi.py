"""How the OpenAPI document describes an API key."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """An HTTP bearer scheme."""

    target_class = "accounts.authentication.ApiKeyAuthentication"
    name = "apiKey"
    priority = 1

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        """What clients send."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "API key"}
