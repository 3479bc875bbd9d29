"""Every change of a task's state, written down by the database itself.

A trigger sees what no poller can: a final state that was left again, or entered twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from django.db import connections

from transcription.models import TranscriptionTask

Status = TranscriptionTask.Status

TABLE: Final = TranscriptionTask._meta.db_table
FINAL: Final = ", ".join(f"'{status}'" for status in sorted(TranscriptionTask.FINAL))
# An UPDATE that writes a final state over a final state is told as well.
NOTED: Final = f"OLD.status <> NEW.status OR OLD.status IN ({FINAL})"
NOTE: Final = (
    "INSERT INTO chaos_moves (task_id, former, present) "
    "VALUES (NEW.id, OLD.status, NEW.status);"
)
COLUMNS: Final = "task_id bigint, former varchar(10), present varchar(10)"
STATEMENTS: Final = {
    "sqlite": [
        f"CREATE TABLE chaos_moves (id integer PRIMARY KEY, {COLUMNS})",
        f"CREATE TRIGGER chaos_move AFTER UPDATE OF status ON {TABLE} "
        f"WHEN {NOTED} BEGIN {NOTE} END",
    ],
    "mysql": [
        f"CREATE TABLE chaos_moves (id serial PRIMARY KEY, {COLUMNS})",
        # It cannot name a column: every UPDATE of a final row would be told.
        f"CREATE TRIGGER chaos_move AFTER UPDATE ON {TABLE} FOR EACH ROW "
        f"BEGIN IF OLD.status <> NEW.status OR (OLD.status IN ({FINAL}) "
        f"AND NOT (OLD.finished_at <=> NEW.finished_at)) "
        f"THEN {NOTE} END IF; END",
    ],
    "postgresql": [
        f"CREATE TABLE chaos_moves (id serial PRIMARY KEY, {COLUMNS})",
        "CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {NOTE} RETURN NULL; END $$",
        f"CREATE TRIGGER chaos_move AFTER UPDATE OF status ON {TABLE} FOR EACH ROW "
        f"WHEN ({NOTED}) EXECUTE FUNCTION chaos_note()",
    ],
}
REMOVAL: Final = {
    "sqlite": ["DROP TRIGGER chaos_move", "DROP TABLE chaos_moves"],
    "mysql": ["DROP TRIGGER chaos_move", "DROP TABLE chaos_moves"],
    "postgresql": [
        f"DROP TRIGGER chaos_move ON {TABLE}",
        "DROP FUNCTION chaos_note",
        "DROP TABLE chaos_moves",
    ],
}
# The arrows of docs/architecture.md; a task that is put back keeps or regains the state
# in which it waits.
ARROWS: Final = frozenset(
    {
        (Status.PREPARING, Status.QUEUED),
        (Status.PREPARING, Status.COMPLETED),
        (Status.PREPARING, Status.FAILED),
        (Status.PREPARING, Status.CANCELLED),
        (Status.QUEUED, Status.PROCESSING),
        (Status.QUEUED, Status.CANCELLED),
        (Status.PROCESSING, Status.QUEUED),
        (Status.PROCESSING, Status.COMPLETED),
        (Status.PROCESSING, Status.FAILED),
        (Status.PROCESSING, Status.CANCELLED),
    }
)


def write_down(database: str) -> None:
    """Have the database note every change of state from now on."""
    _execute(database, STATEMENTS)


def stop_writing(database: str) -> None:
    """Undo `write_down`."""
    _execute(database, REMOVAL)


def _execute(database: str, statements: Mapping[str, Sequence[str]]) -> None:
    connection = connections[database]
    with connection.cursor() as cursor:
        for statement in statements[connection.vendor]:
            cursor.execute(statement)


def moves(database: str) -> dict[int, list[tuple[str, str]]]:
    """For each task that changed its state: from what to what, in order."""
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT task_id, former, present FROM chaos_moves ORDER BY id")
        for task_id, former, present in cursor.fetchall():
            found[task_id].append((former, present))
    return found


def doubled(database: str) -> dict[int, list[tuple[str, str]]]:
    """The moves of tasks that did not come to one end, once, by drawn arrows."""
    return {
        task_id: steps
        for task_id, steps in moves(database).items()
        if sum(present in TranscriptionTask.FINAL for _, present in steps) > 1
        or not ARROWS.issuperset(steps)
    }
