"""A pytest plugin for the passes on further databases: only tests that depend on one.

tools/test_matrix.py loads it with `-p`. Decoding, processes and pure Python end the
same way whatever the database is, so those tests run in the first pass alone. So do
those marked `one_database`: they write and read a few rows on their way to something
else, such as the permissions of callers or the words of an answer.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

# What pytest-django calls access to the database; the marker asks for one of these.
FIXTURES = {
    "db",
    "transactional_db",
    "django_db_reset_sequences",
    "django_db_serialized_rollback",
    "live_server",
}

# A file whose tests use the database holds one of these; tests/conftest.py sees to it.
WORDS = re.compile(rf"\b(?:django_db|{'|'.join(sorted(FIXTURES))})\b")


@cache
def may_use_database(path: Path) -> bool:
    """Whether a file of tests holds a word by which tests get at the database."""
    return WORDS.search(path.read_text(encoding="utf-8")) is not None


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Do not even import a file without such tests; some of them load PyTorch."""
    is_test_file = collection_path.match("test_*.py")
    # None lets others decide.
    return True if is_test_file and not may_use_database(collection_path) else None


def uses_database(item: pytest.Item) -> bool:
    """Whether a test reads or writes Django's database."""
    return item.get_closest_marker("django_db") is not None or not FIXTURES.isdisjoint(
        getattr(item, "fixturenames", ())
    )


def runs_on_each(item: pytest.Item) -> bool:
    """Whether the outcome of a test may depend on the kind of database."""
    return uses_database(item) and item.get_closest_marker("one_database") is None


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out every test that ends the same way on each database."""
    left_out = [item for item in items if not runs_on_each(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if runs_on_each(item)]
