"""How the passes of the tests are counted and summed up."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import pytest

from tools import services, test_matrix
from tools.test_matrix import Pass, pass_environment, read_summary, worker_count


@pytest.mark.parametrize(
    ("summary", "status", "passed", "failed"),
    [
        ("==== 12 passed in 3.45s ====", 0, 12, 0),
        ("1 failed, 97 passed, 2 skipped in 12.34s (0:00:12)", 1, 97, 1),
        ("2 failed, 3 passed, 4 errors in 1.00s", 1, 3, 6),
        ("1 error in 0.50s", 2, 0, 1),
        ("28 deselected in 0.10s", 5, 0, 0),
        ("3 passed in 1.00s", 2, 3, 1),
        ("", -9, 0, 1),
    ],
)
def test_a_pass_that_ended_badly_is_never_good(summary, status, passed, failed):
    done = read_summary("sqlite", summary, status)

    assert (done.passed, done.failed) == (passed, failed)
    assert done.is_good == (failed == 0)


@pytest.fixture
def pass_results(monkeypatch):
    """What each pass shall end with; passes that are not named are good."""
    results: dict[str, Pass] = {}

    def run_pass(database, url, arguments):
        return results.get(database, Pass(database, "5 passed in 1.00s", 5, 0))

    monkeypatch.setattr(test_matrix, "run_pass", run_pass)
    return results


def have(monkeypatch, *names: str) -> None:
    @contextmanager
    def running(*, required, may_install):
        if required and len(names) < len(services.KINDS):
            raise services.ServiceError("postgres is not installed.")
        yield {name: f"{name}://db/w" for name in names}

    monkeypatch.setattr(services, "running", running)


def test_the_last_line_sums_up_all_passes(pass_results, monkeypatch, capsys):
    have(monkeypatch, "mariadb", "postgresql")
    pass_results["mariadb"] = Pass("mariadb", "1 failed, 4 passed in 1.00s", 4, 1)

    status = test_matrix.run_all([], complete=True)

    assert status == 1
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "SQLite:     5 passed in 1.00s",
        "MariaDB:    1 failed, 4 passed in 1.00s",
        "PostgreSQL: 5 passed in 1.00s",
        "14 passed, 1 failed",
    ]


def test_a_database_that_is_not_there_is_named(pass_results, monkeypatch, capsys):
    have(monkeypatch, "mariadb")

    status = test_matrix.run_all([], complete=False)

    assert status == 0
    assert "PostgreSQL: not run" in capsys.readouterr().out


def test_in_ci_a_database_that_is_not_there_is_an_error(
    pass_results, monkeypatch, capsys
):
    have(monkeypatch, "mariadb")

    status = test_matrix.run_all([], complete=True)

    assert status == 1
    assert capsys.readouterr().out.splitlines()[-1] == "5 passed, 2 failed"


@pytest.mark.parametrize(("cores", "workers"), [(1, 3), (2, 4), (4, 6), (64, 6)])
def test_there_are_more_workers_than_cores_within_bounds(cores, workers):
    assert worker_count(cores) == workers


def test_a_pass_has_the_settings_of_tests_whatever_a_variable_says(monkeypatch):
    commands = []

    class Popen:
        def __init__(self, command, **options):
            commands.append(command)
            raise InterruptedError

    monkeypatch.setattr("tools.test_matrix.subprocess.Popen", Popen)

    with pytest.raises(InterruptedError):
        test_matrix.run_pass("sqlite", "", [])

    (command,) = commands
    assert command[command.index("--ds") + 1] == "tests.settings"


def test_the_processes_of_a_pass_agree_and_compile_modules_once():
    ours = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/bin"}

    environment = pass_environment(ours, "mariadb://db/w")

    assert environment.pop("PYTHONHASHSEED").isdigit()
    assert environment == {"PATH": "/bin", "WHISPERHUB_DATABASE_URL": "mariadb://db/w"}


@pytest.mark.parametrize(
    ("ending", "status", "told"), [("", 0, False), ("; sys.exit(3)", 1, True)]
)
def test_a_check_beside_the_tests_is_shown_and_counts(
    pass_results, monkeypatch, capsys, ending, status, told
):
    have(monkeypatch, "mariadb", "postgresql")
    command = f"{sys.executable} -c \"import sys; print('checked'){ending}\""

    ended = test_matrix.run_all([], complete=True, command=command)

    lines = capsys.readouterr().out.splitlines()
    assert ended == status
    assert "checked" in lines
    assert any("failed, see above" in line for line in lines) == told
    assert lines[-1] == "15 passed, 0 failed"
