"""A database that is away is a 503 that says when to come back; a bug stays a 500."""

from __future__ import annotations

import sqlite3

import pytest
from django.db import OperationalError, connection

from transcription.api import views

pytestmark = pytest.mark.django_db


def away() -> OperationalError:
    """What Django raises on this database when its server stops."""
    if connection.vendor == "mysql":
        return OperationalError(2006, "MySQL server has gone away")
    error = OperationalError("the connection is closed")
    if connection.vendor == "sqlite":
        error.__cause__ = sqlite3.OperationalError("disk I/O error")
        error.__cause__.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def bug() -> Exception:
    """What Django raises for a column that does not exist."""
    if connection.vendor == "mysql":
        return OperationalError(1054, "Unknown column 'nope' in 'WHERE'")
    if connection.vendor == "sqlite":
        error = OperationalError("no such column: nope")
        error.__cause__ = sqlite3.OperationalError("no such column: nope")
        error.__cause__.sqlite_errorcode = sqlite3.SQLITE_ERROR
        return error
    from django.db import ProgrammingError

    return ProgrammingError('column "nope" does not exist')


def fail_with(monkeypatch, error: Exception) -> None:
    def listed_tasks(request, owner):
        raise error

    monkeypatch.setattr(views, "listed_tasks", listed_tasks)


def test_a_database_that_is_away_is_a_503(client, monkeypatch):
    fail_with(monkeypatch, away())

    answer = client.get("/api/v1/tasks/")

    assert answer.status_code == 503
    assert answer.json()["code"] == "database_away"
    assert int(answer["Retry-After"]) > 0


def test_a_bug_is_not_taken_for_a_database_that_is_away(client, monkeypatch):
    fail_with(monkeypatch, bug())

    answer = client.get("/api/v1/tasks/")

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
