"""An error as RFC 9457 has it, for those who answer without Django too."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

PROBLEM_JSON: Final = "application/problem+json"


def status_title(http_status: int) -> str:
    """The status's name, as HTTP calls it."""
    return HTTPStatus(http_status).phrase


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
