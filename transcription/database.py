"""Database access that outlives a restart of the server and a conflict of locks."""

from __future__ import annotations

import functools
import logging
import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection
from django.db.models import DurationField, ExpressionWrapper, Value
from django.db.models.functions import Now

from whisperhub.edges import Edge, Passage, guarded

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

# How long work waits for a database that is away.
PATIENCE_SECONDS: Final = 300.0
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 3.0

# MySQL has one class of error for a server that is away, for a deadlock and for a
# column that does not exist; only these pass by themselves.
# https://dev.mysql.com/doc/mysql-errors/8.4/en/, https://mariadb.com/kb/en/mariadb-error-codes/
MYSQL_PASSING: Final = frozenset(
    {
        # The server cannot be reached, or has cut the connection.
        *(2002, 2003, 2005, 2006, 2013, 2055, 1927, 4031),
        # It stops, starts, or has no place for another connection.
        *(1040, 1053, 1077, 1079, 1152, 1203, 1226, 1317),
        *(1158, 1159, 1160, 1161, 1184),
        # Another transaction was first.
        *(1020, 1205, 1213),
        # It is a replica, or a Galera node, on its way to something else.
        *(1047, 1180, 1290, 1792, 1836),
        # Its disk is full.
        *(1021, 1026, 1114, 3),
    }
)
MYSQL_CONFLICTS: Final = frozenset({1020, 1205, 1213})
POSTGRESQL_CONFLICTS: Final = frozenset({"40001", "40P01", "55P03"})
CONFLICT_TRIES: Final = 5
SQLITE_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


def will_pass(error: OperationalError | InterfaceError) -> bool:
    """Whether the same action may well succeed later, on a fresh connection.

    PostgreSQL's classes are exact: its OperationalError is a server that is away, full,
    or had to choose a victim of a deadlock.
    """
    if connection.vendor == "mysql":
        # PyMySQL says InterfaceError(0, "") of a connection that is gone.
        return isinstance(error, InterfaceError) or (
            bool(error.args) and error.args[0] in MYSQL_PASSING
        )
    if connection.vendor == "sqlite":
        code = getattr(error.__cause__, "sqlite_errorcode", None)
        # The low byte is the error, the others tell where it came up.
        return code is not None and code & 0xFF in SQLITE_PASSING
    return True


def is_conflict(error: OperationalError) -> bool:
    """Whether another transaction was first; the server has undone this one."""
    if connection.vendor == "mysql":
        return bool(error.args) and error.args[0] in MYSQL_CONFLICTS
    return getattr(error.__cause__, "sqlstate", None) in POSTGRESQL_CONFLICTS


def is_outage(error: Exception) -> bool:
    """Whether the database cannot be reached now, so that no other action would go."""
    return isinstance(error, InterfaceError) or (
        isinstance(error, OperationalError)
        and will_pass(error)
        and not is_conflict(error)
    )


def by_itself(step: str, about: object) -> Passage:
    """Handle one of many rows or files in a `with`, so that others follow if it fails.

    An outage of the database passes: the others would each wait for it.

    Args:
        step: what is done with them.
        about: which one it is.
    """
    return guarded(Edge.ITEM, f"of {step}", about=about, passes=is_outage)


def despite_conflicts(action: Callable[P, T]) -> Callable[P, T]:
    """Decorate a change that is its own transaction: after a deadlock, do it again.

    On MySQL two changes of the same row can deadlock: one comes by the primary key and
    then rewrites the entry of an index by which the other came. Inside a larger
    transaction all of that is lost, so there the error passes.
    """

    @functools.wraps(action)
    def changed(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(CONFLICT_TRIES - 1):
            try:
                return action(*args, **kwargs)
            except OperationalError as error:
                if connection.in_atomic_block or not is_conflict(error):
                    raise
                logger.info("Another transaction was first (%s)", error)
        return action(*args, **kwargs)

    return changed


def after_now(delay: timedelta) -> Any:
    """An expression: the database's present plus a delay."""
    return Now() + ExpressionWrapper(Value(delay), output_field=DurationField())


def despite_outages(action: Callable[P, T]) -> Callable[P, T]:
    """Decorate what workers read or claim: while the database is away, do it again.

    Not for what a request calls: its client gets an answer at once, if only a refusal.
    """

    @functools.wraps(action)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        return persistently(partial(action, *args, **kwargs))

    return tried


def persistently(action: Callable[[], T], *, seconds: float = PATIENCE_SECONDS) -> T:
    """Run one database action, again on a fresh connection while the server is away.

    Inside a long job Django never replaces a broken connection by itself, and the
    drivers then fail for ever. The action must be safe to repeat: ours are, each write
    carries a lease token in its WHERE.

    Args:
        action: the reads and writes; its own transaction if it needs one.
        seconds: how long to go on trying.

    Raises:
        OperationalError: the database did not come back in time, or the error is one
            that time does not heal.
        InterfaceError: likewise.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError) as error:
            if (
                connection.in_atomic_block
                or time.monotonic() + pause > deadline
                or not will_pass(error)
            ):
                raise
            logger.warning("Database away (%s); again in %.1f s", error, pause)
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
