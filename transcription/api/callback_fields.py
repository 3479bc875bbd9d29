"""Headers that a client wants to have sent along with a callback."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from whisperhub.network.client_headers import may_be_chosen

MOST_HEADERS: Final = 10
NAME_LENGTH: Final = 100
VALUE_LENGTH: Final = 2048
# RFC 9110: a token; and visible ASCII, inside it blanks.
NAME_FORM: Final = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+")
VALUE_FORM: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@extend_schema_field(
    {
        "type": "object",
        "maxProperties": MOST_HEADERS,
        "additionalProperties": {
            "type": "string",
            "minLength": 1,
            "maxLength": VALUE_LENGTH,
            "pattern": f"^{VALUE_FORM.pattern}$",
        },
        "example": {"Authorization": "Bearer a-secret-of-yours"},
    }
)
class CallbackHeadersField(serializers.Field[Any, Any, Any, Any]):
    """Names and values of headers: an object, in a form as JSON text.

    Messages never repeat a value: it may be a secret, and errors end up in logs.
    """

    default_error_messages = {
        "object": _("Give a JSON object of header names and texts."),
        "count": _("Give at most {count} headers."),
        "name": _("A header's name has 1 to {length} letters, digits and hyphens."),
        "reserved": _(
            "The header {name} cannot be chosen: it belongs to the connection or to "
            "proxies, or has a '_', which receivers read as '-'. Leave it out, or give "
            "it another name, such as X-My-Token."
        ),
        "twice": _("The header {name} is there twice."),
        "value": _(
            "The value of {name} must be a text of 1 to {length} visible ASCII "
            "characters, with blanks only between them."
        ),
    }

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """The headers as they were given."""
        if isinstance(data, str):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError):
                self.fail("object")
        if not isinstance(data, dict):
            self.fail("object")
        if len(data) > MOST_HEADERS:
            self.fail("count", count=MOST_HEADERS)
        known: set[str] = set()
        for name, value in data.items():
            if len(name) > NAME_LENGTH or not NAME_FORM.fullmatch(name):
                self.fail("name", length=NAME_LENGTH)
            lowered = name.lower()
            if not may_be_chosen(name):
                self.fail("reserved", name=name)
            if lowered in known:
                self.fail("twice", name=name)
            known.add(lowered)
            if not (
                isinstance(value, str)
                and len(value) <= VALUE_LENGTH
                and VALUE_FORM.fullmatch(value)
            ):
                self.fail("value", name=name, length=VALUE_LENGTH)
        return data
