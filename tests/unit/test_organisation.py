"""What the folders and marks of the tests promise, and who may import what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parents[2]
# Who uses these looks at what differs between databases.
TELLING = {"connection", "connections", "transaction", "CaptureQueriesContext"}
TELLING |= {"PLANS_ONLY", "SERVERS_ONLY"}
PRODUCT = ("whisperhub", "accounts", "transcription", "workers", "crawlers")


def files_of_one_database() -> Iterator[Path]:
    """The test files that are marked as a whole."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if (
                isinstance(statement, ast.Assign)
                and ast.unparse(statement.targets[0]) == "pytestmark"
                and "one_database" in ast.unparse(statement.value)
            ):
                yield path


def imported_modules(path: Path) -> set[str]:
    """The modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def imported_names(path: Path) -> set[str]:
    """What a file takes from other modules."""
    return {
        alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize(
    "path", list(files_of_one_database()), ids=lambda path: str(path.stem)
)
def test_what_runs_on_one_database_uses_nothing_in_which_they_differ(path):
    assert not imported_names(path) & TELLING


def test_some_files_run_on_one_database_alone():
    assert len(list(files_of_one_database())) > 3


def test_unit_tests_start_no_process():
    starting = {"subprocess", "multiprocessing", "tests.web", "tests.fleet"}

    for path in (ROOT / "tests" / "unit").rglob("*.py"):
        assert not imported_modules(path) & starting, path


def test_no_line_of_the_product_reads_the_brokers_private_structures():
    packages = ["accounts", "transcription", "whisperhub", "workers"]
    paths = [path for name in packages for path in (ROOT / name).rglob("*.py")]

    assert [
        path for path in paths if "unacked" in path.read_text(encoding="utf-8")
    ] == []


def test_the_files_that_begin_are_there():
    assert [name for name in LONGEST if not (ROOT / name).exists()] == []


def test_one_module_connects_to_redis():
    importing = {
        str(path.relative_to(ROOT))
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        for name in imported_modules(path)
        if name.partition(".")[0] == "redis"
    }

    assert importing == {"whisperhub/redis.py"}
