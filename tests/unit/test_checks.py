"""What the system checks say of a database server."""

from __future__ import annotations

import pytest

from transcription.checks import LEAST_PACKET_BYTES, check_mysql, mysql_messages


@pytest.mark.parametrize(
    ("character_set", "packet_bytes", "ids"),
    [
        ("utf8mb4", LEAST_PACKET_BYTES, []),
        ("utf8mb4", 16 * 2**20, ["transcription.W001"]),
        ("latin1", LEAST_PACKET_BYTES, ["transcription.E001"]),
        ("utf8mb3", 2**20, ["transcription.E001", "transcription.W001"]),
    ],
)
def test_what_a_mysql_server_lacks_is_named(character_set, packet_bytes, ids):
    messages = mysql_messages(character_set, packet_bytes)

    assert [message.id for message in messages] == ids
    assert all(message.hint for message in messages)


def test_nothing_is_asked_without_leave_to_reach_a_database():
    assert check_mysql(databases=None) == []
