"""What the folders and marks of the tests promise, and who may import what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parents[2]
STORAGE = "transcription/storage/"
# What is done with a path on a disk, by the name of the call.
ON_PATHS = {"copyfile", "disk_usage", "iterdir", "memmap", "move", "rename", "rmdir"}
ON_PATHS |= {"rmtree", "stat", "unlink"}
# Who may, beside the storage, and with which files.
WITH_FILES_OF_THEIR_OWN = {
    # A local file that the storage, or a test, hands to them for a while.
    "transcription/samples.py",
    "transcription/media/decode.py",
    "transcription/media/decoder.py",
    "transcription/media/limits.py",
    "transcription/media/opening.py",
    "transcription/media/recognition.py",
    # The folder in which uploads grow: whether it has room.
    "whisperhub/web/forms.py",
    # Folders that the operator names, the secret key, the database, logs.
    "whisperhub/checks.py",
    "whisperhub/private_files.py",
    "whisperhub/secrets.py",
    # Models.
    "transcription/engines/demo_model/installation.py",
    "transcription/engines/store/fetching.py",
    "transcription/engines/store/installed.py",
    "transcription/engines/store/package_index.py",
    # How much room a file takes.
    "whisperhub/disk.py",
    # Signs of readiness.
    "workers/stack.py",
}
# Who uses these looks at what differs between databases.
TELLING = {"transaction", "CaptureQueriesContext", "PLANS_ONLY", "SERVERS_ONLY"}
# So does who asks a connection for one of these; to close it is nothing of the kind.
TELLING_OF_CONNECTIONS = {"cursor", "execute_wrapper", "features", "introspection"}
TELLING_OF_CONNECTIONS |= {"ops", "queries", "settings_dict", "vendor"}
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


def asked_of_connections(path: Path) -> set[str]:
    """The attributes that a file uses of `connection` and `connections[…]`."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value).partition("[")[0] in {"connection", "connections"}
    }


@pytest.mark.parametrize(
    "path", list(files_of_one_database()), ids=lambda path: str(path.stem)
)
def test_what_runs_on_one_database_uses_nothing_in_which_they_differ(path):
    assert not imported_names(path) & TELLING
    assert not asked_of_connections(path) & TELLING_OF_CONNECTIONS


def test_some_files_run_on_one_database_alone():
    assert len(list(files_of_one_database())) > 3


def test_unit_tests_start_no_process():
    starting = {
        "subprocess",
        "multiprocessing",
        "tests.support.web",
        "tests.support.fleet",
    }

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


def product_modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the product outside the storage, by its path."""
    for package in PRODUCT:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(STORAGE) and "/migrations/" not in name:
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def is_done_with_a_path(node: ast.AST) -> bool:
    """Whether a node is a call such as `path.stat()` or `path.replace(other)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    # That of a text has two arguments, those of dataclasses and times have keywords.
    is_rename = (
        node.func.attr == "replace" and len(node.args) == 1 and not node.keywords
    )
    return is_rename or node.func.attr in ON_PATHS


def test_only_the_storage_handles_the_files_of_tasks():
    handling = {
        name
        for name, module in product_modules()
        if any(is_done_with_a_path(node) for node in ast.walk(module))
    }

    assert handling == WITH_FILES_OF_THEIR_OWN, "ask the storage instead"


def test_only_the_storage_knows_where_the_files_of_tasks_lie():
    knowing = {
        name
        for name, module in product_modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node).rpartition(".")[2]
        in {"MEDIA_ROOT", "FILE_UPLOAD_TEMP_DIR", "LocalStorage"}
    }

    assert knowing == {"whisperhub/settings.py", "whisperhub/web/forms.py"}


@pytest.mark.parametrize("package", PRODUCT)
def test_each_package_says_what_it_is_for(package):
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("__init__.py")
        if not {"migrations", "management", "formats"} & set(path.parts)
        and ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None
    ]

    assert silent == []


def test_one_module_connects_to_redis():
    importing = {
        str(path.relative_to(ROOT))
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        for name in imported_modules(path)
        if name.partition(".")[0] == "redis"
    }

    assert importing == {"whisperhub/redis.py"}
