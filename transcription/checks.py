"""Mistakes in how a deployment is set up, found before they cost a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

# A day of speech with words, as JSON, in one statement.
LEAST_PACKET_BYTES: Final = 64 * 2**20


@register(Tags.database)
def check_mysql(
    databases: Sequence[str] | None = None, **options: Any
) -> list[CheckMessage]:
    """Whether a MySQL or MariaDB server stores every character and a long transcript.

    Django runs it where it may reach a database: before `migrate`, and on
    `check --database default`.
    """
    found: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if connection.vendor == "mysql":
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT @@character_set_database, @@global.max_allowed_packet"
                )
                found += mysql_messages(*cursor.fetchone())
    return found


def mysql_messages(character_set: str, packet_bytes: int) -> list[CheckMessage]:
    """What is to be said of a server with these settings."""
    found: list[CheckMessage] = []
    if character_set != "utf8mb4":
        found.append(
            Error(
                f"The database stores text as {character_set}, which lacks many "
                "characters.",
                hint="Before the first migration: ALTER DATABASE name CHARACTER SET "
                "utf8mb4;",
                id="transcription.E001",
            )
        )
    if packet_bytes < LEAST_PACKET_BYTES:
        found.append(
            Warning(
                f"The database takes statements up to {packet_bytes // 2**20} MiB; the "
                "transcript of a recording of many hours is larger.",
                hint="Set max_allowed_packet=64M or more in the server's "
                "configuration.",
                id="transcription.W001",
            )
        )
    return found
