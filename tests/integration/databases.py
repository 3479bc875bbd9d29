"""What tests of the databases share: other connections, and killing our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

SERVERS_ONLY = pytest.mark.skipif(
    "connection.vendor == 'sqlite'", reason="SQLite has no server"
)
PLANS_ONLY = pytest.mark.skipif(
    "connection.vendor == 'mysql'",
    reason="MariaDB looks at its rows only outside of a transaction",
)


def in_threads(actions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each action in a thread with a connection of its own, all at once.

    Returns:
        What each returned; an exception of any of them is raised.
    """

    def run(action: Callable[[], Any]) -> Any:
        try:
            return action()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=len(actions)) as pool:
        return [job.result() for job in [pool.submit(run, act) for act in actions]]


def server_side_id() -> int:
    """What the server calls this thread's connection."""
    function = "connection_id()" if is_mysql() else "pg_backend_pid()"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}")
        return int(cursor.fetchone()[0])


def kill_own_connection() -> None:
    """Have the server cut this thread's connection, as its restart would."""
    number = server_side_id()
    statement = "KILL %s" if is_mysql() else "SELECT pg_terminate_backend(%s, 5000)"

    def kill() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, [number])

    in_threads([kill])


def is_mysql() -> bool:
    """Whether the tests run on MySQL or MariaDB."""
    return connection.vendor == "mysql"
