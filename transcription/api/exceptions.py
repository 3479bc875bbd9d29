"""The one error shape of the API: RFC 9457 problem details with a stable code."""

from __future__ import annotations

import json
import logging
import math
from itertools import islice
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from accounts.errors import AccountError
from transcription.database import will_pass
from transcription.errors import WhisperHubError
from whisperhub.api.echoes import NAME_LENGTH, shortened, shortened_sentence
from whisperhub.sentences import translated
from whisperhub.web.problems import PROBLEM_JSON, problem_document
from whisperhub.web.request_id import current_request_id

logger = logging.getLogger(__name__)

# Fields that an answer finds fault with: more than any operation has, fewer than a list
# in a body may have entries.
MOST_ERRORS: Final = 50


class TaskHasNoResultError(exceptions.APIException):
    """The task ended without a result: failed or cancelled."""

    status_code = status.HTTP_409_CONFLICT

    def __init__(self, code: str, message: str) -> None:
        """Carry the task's own code and sentence."""
        super().__init__(message, code)


def problem_body(
    http_status: int,
    code: str,
    detail: str,
    errors: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The members of a problem document."""
    body = problem_document(
        http_status,
        code,
        shortened_sentence(detail),
        request_id=current_request_id.get(),
    )
    if errors:
        body["errors"] = errors
    return body


def problem_details(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler; None lets an unforeseen error reach the 500 handler."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    headers: dict[str, str] = {}
    errors: dict[str, Any] | None = None
    if isinstance(exc, WhisperHubError | AccountError):
        http_status, code = exc.http_status, exc.code
        detail = translated(exc.message)
        if names := getattr(exc, "names", ()):
            errors = {n: [{"code": code, "message": detail}] for n in names}
    elif isinstance(exc, exceptions.ValidationError):
        http_status, code = exc.status_code, "invalid"
        detail = _("The request has invalid fields.")
        found = _field_errors(exc.get_full_details())
        errors = dict(islice(found.items(), MOST_ERRORS))
    elif isinstance(exc, exceptions.APIException):
        http_status, detail = exc.status_code, _detail_of(exc)
        code = str(getattr(exc.detail, "code", exc.default_code))
        if auth_header := getattr(exc, "auth_header", None):
            headers["WWW-Authenticate"] = auth_header
    elif isinstance(exc, (OperationalError, InterfaceError)) and will_pass(exc):
        logger.warning("Database away: %s", exc)
        http_status, code = status.HTTP_503_SERVICE_UNAVAILABLE, "database_away"
        detail = _("The database does not answer. Try again in a moment.")
        headers["Retry-After"] = "2"
    else:
        return None
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    set_rollback()
    return Response(
        problem_body(http_status, code, detail, errors),
        status=http_status,
        headers=headers,
        content_type=PROBLEM_JSON,
    )


def _detail_of(exc: exceptions.APIException) -> str:
    """The sentence of one of DRF's errors; some of its words are English only."""
    if str(exc.detail).startswith("CSRF Failed"):
        return _(
            "A signed-in browser must send the CSRF token of its page. Reload the page."
        )
    if not isinstance(exc, exceptions.ParseError):
        return str(exc.detail)
    fault = exc.__context__
    if isinstance(fault, json.JSONDecodeError):
        return _("The body is not valid JSON: line {line}, column {column}.").format(
            line=fault.lineno, column=fault.colno
        )
    if isinstance(fault, RecursionError):
        return _("The body is nested too deep.")
    return _("The body cannot be read as what its Content-Type says.")


def _field_errors(details: Any) -> dict[str, Any]:
    """Field name to a list of {code, message}."""
    if isinstance(details, list):
        details = {"non_field_errors": details}
    errors: dict[str, Any] = {}
    for field, found in details.items():
        # One message that was raised alone stands for a list of one.
        items = [found] if _is_message(found) else found
        if isinstance(items, list):
            errors[shortened(str(field), NAME_LENGTH)] = [
                {
                    "code": item["code"],
                    "message": shortened_sentence(item["message"]),
                }
                for item in items
            ]
        else:
            # An object's members: vad_parameters.threshold.
            for member, member_errors in _field_errors(found).items():
                errors[f"{field}.{member}"] = member_errors
    return errors


def _is_message(found: Any) -> bool:
    # A field may be called `message`; its errors are a list or a dict.
    return isinstance(found, dict) and isinstance(found.get("message"), str)


def is_api_request(request: HttpRequest | Request) -> bool:
    """Whether a program asks, which wants JSON and no page."""
    return request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> Any:
    """A 400 outside any view, or from what Django finds suspicious in a body."""
    if is_api_request(request):
        return JsonResponse(
            problem_body(400, "bad_request", _reason(exception)),
            status=400,
            content_type=PROBLEM_JSON,
        )
    from django.views.defaults import bad_request as default_page

    return default_page(request, exception)


def _reason(exception: Exception) -> str:
    """What of a suspicious request its sender may be told."""
    if isinstance(exception, TooManyFilesSent):
        return _("Send one file in a request.")
    if isinstance(exception, TooManyFieldsSent):
        return _(
            "The request has more than {count} fields, or entries of lists. Send only "
            "what the operation has."
        ).format(count=settings.DATA_UPLOAD_MAX_NUMBER_FIELDS)
    if isinstance(exception, RequestDataTooBig):
        return _("The request is too long. Only a file in a form may be large.")
    return _("The server does not take this request.")


def page_not_found(request: HttpRequest, exception: Exception) -> Any:
    """A 404 outside any view."""
    if is_api_request(request):
        return JsonResponse(
            problem_body(404, "not_found", _("There is nothing at this address.")),
            status=404,
            content_type=PROBLEM_JSON,
        )
    from django.views.defaults import page_not_found as default_page

    return default_page(request, exception)


def server_error(request: HttpRequest) -> Any:
    """A 500: the log has the traceback under the request id."""
    if is_api_request(request):
        return JsonResponse(
            problem_body(
                500,
                "internal_error",
                _("The server failed on this request. Its log has the request id."),
            ),
            status=500,
            content_type=PROBLEM_JSON,
        )
    from django.views.defaults import server_error as default_page

    return default_page(request)
