"""How database servers for the tests are found, given, and not started by packages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import services
from tools.services import KINDS, Kind, ServiceError


def not_here() -> services.Server:
    raise ServiceError("initdb is not installed.")


@pytest.fixture
def nothing_installed(monkeypatch):
    for name, kind in KINDS.items():
        changed = Kind(kind.name, not_here, kind.debian_package)
        monkeypatch.setitem(KINDS, name, changed)


def test_a_given_server_is_used_as_it_is(nothing_installed):
    given = {
        "WHISPERHUB_TEST_POSTGRESQL_URL": "postgresql://db/w",
        "WHISPERHUB_TEST_MARIADB_URL": "mariadb://db/w",
    }

    with services.running(environment=given) as urls:
        assert urls == {"postgresql": "postgresql://db/w", "mariadb": "mariadb://db/w"}


def test_what_is_not_installed_is_left_out_or_an_error(nothing_installed, capsys):
    with services.running(environment={}) as urls:
        assert urls == {}
    assert "No postgresql here: initdb is not installed." in capsys.readouterr().err

    with (
        pytest.raises(ServiceError, match="is not installed"),
        services.running(required=True, environment={}),
    ):
        pass


def test_missing_programs_are_installed_only_with_leave(nothing_installed, monkeypatch):
    installed: list[str] = []
    monkeypatch.setattr(services, "install", installed.extend)

    with services.running(environment={}):
        pass
    assert installed == []

    with services.running(environment={}, may_install=True):
        pass
    assert installed == ["mariadb-server", "postgresql"]


def test_installing_needs_root_and_says_what_to_do(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(ServiceError, match="Install postgresql, or set"):
        services.install(["postgresql"])


def test_a_policy_of_the_machine_stays(tmp_path):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs", encoding="ascii")

    with services.services_do_not_start(policy):
        pass

    assert policy.read_text(encoding="ascii") == "theirs"


def test_the_newest_of_several_versions_is_chosen(tmp_path, monkeypatch):
    for version in ("9", "15", "17"):
        program = tmp_path / version / "bin" / "initdb"
        program.parent.mkdir(parents=True)
        program.touch()
    monkeypatch.setattr(services, "PROGRAM_FOLDERS", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", "")

    found = services.find_program("initdb")

    assert Path(found) == tmp_path / "17" / "bin" / "initdb"


@pytest.mark.parametrize(
    "arguments", [["run"], ["--", "true"], ["run", "--"], ["--only", "oracle"]]
)
def test_a_command_line_that_says_too_little_is_refused(arguments):
    with pytest.raises(SystemExit) as caught:
        services.main(arguments)

    assert caught.value.code == 2
