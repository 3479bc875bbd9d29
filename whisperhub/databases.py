"""WHISPERHUB_DATABASE_URL becomes Django's settings: SQLite, PostgreSQL, MySQL/MariaDB.

The product runs on any of them by this one variable. What each needs beyond an address
is set here, so that no server's own defaults decide about clocks, locks or characters.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import dj_database_url

SQLITE: Final = "django.db.backends.sqlite3"
POSTGRESQL: Final = "django.db.backends.postgresql"
MYSQL: Final = "django.db.backends.mysql"

ENGINES: Final = {
    "sqlite": SQLITE,
    "postgresql": POSTGRESQL,
    "postgres": POSTGRESQL,
    "mysql": MYSQL,
    "mariadb": MYSQL,
}
# The module that speaks to the server, and the package that has it.
DRIVERS: Final = {
    POSTGRESQL: ("psycopg", "psycopg[binary]"),
    MYSQL: ("pymysql", "PyMySQL"),
}

EXAMPLE: Final = "postgresql://user:password@host:5432/name"
SQLITE_NAME: Final = "whisperhub.sqlite3"

# A server that is away must not hold a request or a job for long; both try again.
CONNECT_SECONDS: Final = 4

SQLITE_OPTIONS: Final[dict[str, Any]] = {"timeout": 20}
SQLITE_RULES: Final[dict[str, Any]] = {
    # A deferred transaction that has read cannot wait for the write lock.
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
POSTGRESQL_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_SECONDS,
    # A cut network is noticed in half a minute; left alone, the kernel takes a quarter
    # of an hour when it sends and hours when it only waits.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
MYSQL_OPTIONS: Final[dict[str, Any]] = {"connect_timeout": CONNECT_SECONDS}
MYSQL_RULES: Final[dict[str, Any]] = {
    "charset": "utf8mb4",
    # REPEATABLE READ, the server's default, locks gaps, and conditional UPDATEs of
    # several processes would deadlock.
    "isolation_level": "read committed",
    # - time_zone: Now() is CURRENT_TIMESTAMP in the session's zone, while Django stores
    #   UTC without a zone. In any other zone leases would be hours long, or over.
    # - sql_mode: what does not fit is an error instead of being cut, and no option of
    #   the server changes how our SQL is read.
    # - sql_auto_is_null: Django would switch it off with two statements in one string,
    #   which PyMySQL does not send.
    # - innodb_lock_wait_timeout: shorter than a lease, and then tried again; the
    #   server's default is 50 s.
    "init_command": (
        "SET time_zone = '+00:00', sql_mode = 'TRADITIONAL', sql_auto_is_null = 0, "
        "innodb_lock_wait_timeout = 10"
    ),
}


def settings_from_url(url: str, *, data_dir: Path) -> dict[str, Any]:
    """Django's settings of the default database.

    Options in the URL's query reach the driver and win over ours, except those that
    the product's correctness rests on.

    Args:
        url: empty: SQLite in the data folder.
        data_dir: where a relative SQLite path starts.

    Raises:
        ValueError: no database can be meant by this, or its driver is missing. The
            message repeats no part of the URL that may hold a password.
    """
    scheme, separator, rest = (url or f"sqlite:///{SQLITE_NAME}").partition("://")
    if not separator:
        raise ValueError(f"this is no URL such as {EXAMPLE}.")
    engine = ENGINES.get(scheme.lower())
    if engine is None:
        raise ValueError(f"{scheme!r} is none of {', '.join(ENGINES)}.")
    parsed = _parse(engine, rest)
    if engine == SQLITE:
        return _sqlite(parsed, data_dir)
    if not parsed["NAME"]:
        raise ValueError(f"the URL names no database; it looks like {EXAMPLE}.")
    if find_spec(DRIVERS[engine][0]) is None:
        raise ValueError(
            f"the driver of {scheme} is missing: pip install {DRIVERS[engine][1]!r}."
        )
    return _postgresql(parsed) if engine == POSTGRESQL else _mysql(parsed)


def _parse(engine: str, rest: str) -> dict[str, Any]:
    """The URL's parts, on an engine of ours, whatever its scheme was called."""
    try:
        # Connections close at the end of a request or Celery task: under ASGI, threads
        # come and go, and each would keep one.
        parsed = dj_database_url.parse(
            f"mysql://{rest}", engine=engine, conn_max_age=0, conn_health_checks=True
        )
    except ValueError:
        raise ValueError(
            f"this is no URL such as {EXAMPLE}; write special characters in its parts "
            "as %XX."
        ) from None
    return {"OPTIONS": {}, **parsed}


def _sqlite(parsed: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    if parsed["HOST"] or parsed["NAME"] in ("", ":memory:"):
        # Every process would have a database of its own.
        raise ValueError(
            "SQLite needs a file: sqlite:////absolute/path or sqlite:///name, which "
            "lies in the data folder."
        )
    parsed["NAME"] = str(data_dir / Path(parsed["NAME"]).expanduser())
    parsed["OPTIONS"] = {**SQLITE_OPTIONS, **parsed["OPTIONS"], **SQLITE_RULES}
    return parsed


def _postgresql(parsed: dict[str, Any]) -> dict[str, Any]:
    parsed["OPTIONS"] = {**POSTGRESQL_OPTIONS, **parsed["OPTIONS"]}
    return parsed


def _mysql(parsed: dict[str, Any]) -> dict[str, Any]:
    import pymysql

    # Under the name that Django's backend imports; in no process that uses another.
    pymysql.install_as_MySQLdb()
    options = {**MYSQL_OPTIONS, **parsed["OPTIONS"], **MYSQL_RULES}
    if "unix_socket" in options or parsed["HOST"].startswith("/"):
        # Traffic on a UNIX socket does not leave the machine. PyMySQL would load all CA
        # certificates for each connection, which takes tens of milliseconds.
        options.setdefault("ssl_disabled", True)
    parsed["OPTIONS"] = options
    parsed["TEST"] = {"CHARSET": "utf8mb4"}
    return parsed
