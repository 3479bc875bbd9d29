"""What each form of WHISPERHUB_DATABASE_URL becomes, and what stops the start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from whisperhub import databases, env
from whisperhub.databases import MYSQL, POSTGRESQL, SQLITE, settings_from_url

DATA_DIR = Path("/data")
PASSWORD = "sWordfish"


def from_url(url: str) -> dict:
    return settings_from_url(url, data_dir=DATA_DIR)


@pytest.mark.parametrize(
    ("url", "engine"),
    [
        ("", SQLITE),
        ("sqlite:///tasks.sqlite3", SQLITE),
        ("postgresql://db/whisperhub", POSTGRESQL),
        ("postgres://db/whisperhub", POSTGRESQL),
        ("mysql://db/whisperhub", MYSQL),
        ("mariadb://db/whisperhub", MYSQL),
        ("MariaDB://db/whisperhub", MYSQL),
    ],
)
def test_the_scheme_chooses_the_engine(url, engine):
    assert from_url(url)["ENGINE"] == engine


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "/data/whisperhub.sqlite3"),
        ("sqlite:///tasks.sqlite3", "/data/tasks.sqlite3"),
        ("sqlite:////srv/tasks.sqlite3", "/srv/tasks.sqlite3"),
    ],
)
def test_a_relative_sqlite_file_lies_in_the_data_folder(url, name):
    assert from_url(url)["NAME"] == name


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
def test_every_part_of_the_address_is_used(scheme):
    found = from_url(f"{scheme}://us%40er:p%2Fw@db.example.org:1234/na%20me")

    assert found["USER"] == "us@er"
    assert found["PASSWORD"] == "p/w"
    assert found["HOST"] == "db.example.org"
    assert found["PORT"] == 1234
    assert found["NAME"] == "na me"


def test_options_of_the_query_reach_the_driver():
    options = from_url("postgres://db/w?sslmode=require&connect_timeout=9")["OPTIONS"]

    assert options["sslmode"] == "require"
    assert options["connect_timeout"] == 9


def test_the_query_cannot_undo_what_correctness_rests_on():
    mysql = from_url("mysql://db/w?charset=latin1&isolation_level=serializable")
    sqlite = from_url("sqlite:///x?transaction_mode=DEFERRED")

    assert mysql["OPTIONS"]["charset"] == "utf8mb4"
    assert mysql["OPTIONS"]["isolation_level"] == "read committed"
    assert "time_zone = '+00:00'" in mysql["OPTIONS"]["init_command"]
    assert sqlite["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_a_lease_outlives_the_wait_for_a_lock():
    """Otherwise a job would lose its lease while it waits to renew it."""
    command = from_url("mysql://db/w")["OPTIONS"]["init_command"]
    wait = re.search(r"innodb_lock_wait_timeout = (\d+)", command)

    assert wait is not None
    assert int(wait[1]) < float(env.declared["LEASE_SECONDS"])


@pytest.mark.parametrize(
    ("address", "is_disabled"),
    [
        ("%2Frun%2Fmysqld.sock/w", True),
        ("localhost/w?unix_socket=/run/mysqld.sock", True),
        ("db/w", None),
    ],
)
def test_no_tls_is_prepared_for_a_socket_of_this_machine(address, is_disabled):
    options = from_url(f"mysql://{address}")["OPTIONS"]

    assert options.get("ssl_disabled") is is_disabled


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("whisperhub", "is no URL"),
        ("oracle://db/w", "'oracle' is none of sqlite, postgresql"),
        (f"postgres://u:{PASSWORD}@db:port/w", "write special characters"),
        (f"postgres://u:{PASSWORD}/1@db/w", "write special characters"),
        (f"postgres://u:{PASSWORD}@db", "names no database"),
        (f"mysql://u:{PASSWORD}@db/", "names no database"),
        ("sqlite://tasks.sqlite3", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
    ],
)
def test_a_bad_url_is_refused_without_its_password(url, said):
    with pytest.raises(ValueError, match=said) as caught:
        from_url(url)

    assert PASSWORD not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setattr(databases, "find_spec", lambda name: None)

    with pytest.raises(ValueError, match=r"pip install 'psycopg\[binary\]'"):
        from_url("postgres://db/whisperhub")
