"""An error as RFC 9457 has it, for those who answer without Django too."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from django.utils.translation import gettext


def _(text: str) -> str:
    """Mark a text for the catalogue; Django's own needs settings, which need this."""
    return text


PROBLEM_JSON: Final = "application/problem+json"
NO_STORE: Final = "no-store"
# Of an error that is answered without Django, whose middleware adds them otherwise.
PROBLEM_FIELDS: Final = (
    (b"content-type", PROBLEM_JSON.encode()),
    (b"cache-control", NO_STORE.encode()),
    (b"x-content-type-options", b"nosniff"),
)
# The titles that we answer with. Some have another name from Python 3.13 on.
TITLES: Final = (
    _("Bad Request"),
    _("Unauthorized"),
    _("Forbidden"),
    _("Not Found"),
    _("Method Not Allowed"),
    _("Not Acceptable"),
    _("Request Timeout"),
    _("Conflict"),
    _("Gone"),
    _("Length Required"),
    _("Request Entity Too Large"),
    _("Content Too Large"),
    _("Unsupported Media Type"),
    _("Unprocessable Entity"),
    _("Unprocessable Content"),
    _("Too Many Requests"),
    _("Internal Server Error"),
    _("Bad Gateway"),
    _("Service Unavailable"),
    _("Gateway Timeout"),
    _("Insufficient Storage"),
)


def status_title(http_status: int) -> str:
    """The status's name in the language of the request."""
    return gettext(HTTPStatus(http_status).phrase)


def problem_document(
    http_status: int, code: str, detail: str, *, request_id: str
) -> dict[str, Any]:
    """The members that every error answer has.

    Args:
        http_status: repeated in the document.
        code: stable, for programs.
        detail: a sentence for people.
        request_id: as in the header of the answer.
    """
    return {
        "type": "about:blank",
        "title": status_title(http_status),
        "status": int(http_status),
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }
