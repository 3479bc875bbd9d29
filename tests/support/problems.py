"""The one shape of every error answer."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

MEMBERS = {"type", "title", "status", "code", "detail", "request_id"}


def read_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Check that a Django answer is this problem, and return its document."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "no-store" in response.headers["Cache-Control"]
    body: dict[str, Any] = json.loads(response.content)
    check_problem(body, status, code)
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def check_problem(body: dict[str, Any], status: int, code: str) -> None:
    """Check that a document is this problem, with a sentence for people."""
    assert set(body) - {"errors"} == MEMBERS
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["title"] == HTTPStatus(status).phrase
    assert body["code"] == code
    # A parser's own words on a body follow no rule.
    assert body["detail"].endswith((".", "。")) or code == "parse_error"
    assert body["request_id"]
