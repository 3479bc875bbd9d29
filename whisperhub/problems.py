"""The titles of problem documents: what HTTP calls a status, for people."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

# Those that we answer with. Some have another name from Python 3.13 on.
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
