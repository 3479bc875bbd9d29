"""What the OpenAPI document says of every operation without being told each time."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework import serializers

from accounts.openapi import ScopedSchema
from transcription.api.serializers import ProblemSerializer
from whisperhub.api.fields import NumbersField
from whisperhub.web.problems import PROBLEM_JSON
from whisperhub.web.request_id import HEADER

JSON: Final = "application/json"
# DRF refuses NUL, and strips what Python calls blank before it looks whether anything
# is left; JavaScript's \s lacks some of that.
NO_NUL: Final = r"^[^\u0000]*$"
NOT_BLANK: Final = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$"

# Errors that belong to no operation of their own.
BAD_REQUEST: Final = (
    "The request is malformed, or has a value that is not allowed, or a `Host` that is "
    "not ours (`bad_request`)."
)
NOT_ACCEPTABLE: Final = "`Accept` names no type that the answer has."
TOO_LARGE: Final = "The body is larger than the server takes (`request_too_large`)."
SILENT: Final = "The body stalled, or took too long (`request_timeout`)."
NOT_SUPPORTED: Final = "The body has another `Content-Type` than those above."
AWAY: Final = (
    "The database does not answer (`database_away`), or too much is being sent at once "
    "(`server_busy`); try again in moments."
)

# Actions that DRF knows; the name of any other says what it does.
ORDINARY_ACTIONS: Final = frozenset(
    {"list", "create", "retrieve", "update", "partial_update", "destroy"}
)


class ApiSchema(ScopedSchema):
    """Adds to each operation its common errors, the request id and its strictness."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation, with the errors that any such operation may answer."""
        operation = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        query = [p for p in operation.get("parameters", []) if p["in"] == "query"]
        for parameter in query:
            # `?status=` leaves the status alone, as a form does.
            parameter["allowEmptyValue"] = True
        responses = operation["responses"]
        for status, told in self._common_errors(
            has_body="requestBody" in operation
        ).items():
            if str(status.value) not in responses:
                responses[str(status.value)] = self._error(told)
        operation["responses"] = dict(sorted(responses.items()))
        return operation

    def _get_request_body(self, direction: Any = "request") -> Any:
        body = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        if body is not None:
            # The package says so only of bodies that have one form.
            body["required"] = any(
                self._needs_something(media["schema"])
                for media in body["content"].values()
            )
        return body

    def _needs_something(self, schema: dict[str, Any]) -> bool:
        """Whether a body must have any field at all."""
        name = schema.get("$ref", "").rpartition("/")[2]
        component = self.registry._components.get((name, ResolvedComponent.SCHEMA))
        return component is not None and bool(component.schema.get("required"))

    @staticmethod
    def _common_errors(*, has_body: bool) -> dict[HTTPStatus, str]:
        errors: dict[HTTPStatus, str] = {
            HTTPStatus.BAD_REQUEST: BAD_REQUEST,
            HTTPStatus.NOT_ACCEPTABLE: NOT_ACCEPTABLE,
            HTTPStatus.SERVICE_UNAVAILABLE: AWAY,
        }
        if has_body:
            errors[HTTPStatus.REQUEST_TIMEOUT] = SILENT
            errors[HTTPStatus.REQUEST_ENTITY_TOO_LARGE] = TOO_LARGE
            errors[HTTPStatus.UNSUPPORTED_MEDIA_TYPE] = NOT_SUPPORTED
        return errors

    def _error(self, description: str) -> dict[str, Any]:
        problem = self.resolve_serializer(ProblemSerializer, "response").ref
        return {
            "headers": request_id_header(),
            "content": {PROBLEM_JSON: {"schema": problem}},
            "description": description,
        }

    def get_operation_id(self) -> str:
        """What an operation does, without the method that it happens to be called by.

        `tasks_cancel`, not `tasks_cancel_create`: clients are generated with these.
        """
        action = getattr(self.view, "action", None)
        if action is None or action in ORDINARY_ACTIONS:
            return super().get_operation_id()
        return f"{self._tokenize_path()[0]}_{action}"

    def _get_response_for_code(
        self,
        serializer: Any,
        status_code: str,
        media_types: Any = None,
        direction: Any = "response",
    ) -> Any:
        response = super()._get_response_for_code(  # type: ignore[no-untyped-call]
            serializer, status_code, media_types, direction
        )
        # In the other direction it is what receivers of callbacks answer.
        if direction != "response":
            return response
        response["headers"] = {**response.get("headers", {}), **request_id_header()}
        if status_code >= "400" and JSON in response.get("content", {}):
            response["content"] = {PROBLEM_JSON: response["content"][JSON]}
        return response

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(  # type: ignore[no-untyped-call]
            serializer, direction
        )
        if direction == "request":
            # `refuse_unknown`, in all of them.
            schema["additionalProperties"] = False
            fields = serializer.fields.values()
            if any(isinstance(field, serializers.FileField) for field in fields):
                # A form has no null. Generated clients would write it as they like;
                # the fields take the text `null`.
                for described in schema["properties"].values():
                    described.pop("nullable", None)
        return schema

    def _map_serializer_field(
        self, field: Any, direction: Any, bypass_extensions: bool = False
    ) -> Any:
        schema = super()._map_serializer_field(  # type: ignore[no-untyped-call]
            field, direction, bypass_extensions
        )
        if (
            direction == "request"
            and isinstance(field, serializers.CharField)
            and not schema.keys() & {"pattern", "format"}
        ):
            may_be_blank = field.allow_blank or not field.trim_whitespace
            schema["pattern"] = NO_NUL if may_be_blank else NOT_BLANK
        if isinstance(field, serializers.ListField) and not field.allow_empty:
            schema["minItems"] = 1
        return schema

    def _insert_field_validators(self, field: Any, schema: Any) -> None:
        # The package adds an alternative for the empty text, which the pattern allows.
        pattern = schema.pop("pattern", None)
        super()._insert_field_validators(  # type: ignore[no-untyped-call]
            field, schema
        )
        if pattern is not None:
            schema["pattern"] = pattern


def request_id_header() -> dict[str, Any]:
    """The header that every answer has."""
    return {
        HEADER: {
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            "description": (
                "Yours, if you sent one; it stands in the server's log as well."
            ),
            "required": True,
        }
    }


class NumbersFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """A number, several, or text that holds them."""

    target_class = NumbersField
    match_subclasses = True

    def map_serializer_field(
        self, auto_schema: AutoSchema, direction: Any
    ) -> dict[str, Any]:
        """With the bounds of this field."""
        field: NumbersField = self.target
        number = {"type": "number", "minimum": field.least, "maximum": field.most}
        return {
            "oneOf": [
                number,
                {
                    "type": "array",
                    "items": number,
                    "minItems": 0 if field.may_be_empty else 1,
                    "maxItems": field.count,
                },
                {"type": "string", "pattern": field.text_pattern},
            ]
        }
