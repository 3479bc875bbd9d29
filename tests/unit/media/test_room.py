"""Room for samples: the reserve of the volume, and what one owner may take."""

from __future__ import annotations

import pytest

from transcription.errors import NoRoomError
from transcription.media.limits import LOOK_BYTES, Limits, Room

MIB = 2**20


class Volume:
    """A volume that samples are written to."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.taken = 0

    def write(self, room: Room, size: int) -> None:
        """Write samples with sound in them until there is no room."""
        written = 0
        while written < size:
            written += LOOK_BYTES // 8
            self.taken += LOOK_BYTES // 8
            self.free -= LOOK_BYTES // 8
            room.check(written)

    def room(self, **limits: object) -> Room:
        return Room(
            Limits(**limits),  # type: ignore[arg-type]
            free=lambda: self.free,
            taken=lambda: self.taken,
        )


def test_the_reserve_stays_free_to_the_last_byte() -> None:
    volume = Volume(100 * MIB)

    with pytest.raises(NoRoomError):
        volume.write(volume.room(reserve_bytes=40 * MIB), 100 * MIB)

    assert 40 * MIB <= volume.free <= 42 * MIB


def test_an_owner_takes_no_more_than_a_share_of_the_room() -> None:
    volume = Volume(100 * MIB)
    room = volume.room(reserve_bytes=20 * MIB, owner_share=0.5)

    with pytest.raises(NoRoomError):
        volume.write(room, 100 * MIB)

    assert volume.taken == pytest.approx(40 * MIB, abs=2 * MIB)


def test_what_other_tasks_of_the_owner_hold_counts() -> None:
    volume = Volume(100 * MIB)
    # Of 160 MiB of room.
    room = volume.room(held_bytes=60 * MIB, owner_share=0.5)

    with pytest.raises(NoRoomError):
        volume.write(room, 100 * MIB)

    assert volume.taken == pytest.approx(20 * MIB, abs=2 * MIB)


def test_a_full_volume_is_seen_before_anything_is_written() -> None:
    with pytest.raises(NoRoomError):
        Volume(10 * MIB).room(reserve_bytes=10 * MIB)


def test_silence_counts_for_nothing() -> None:
    volume = Volume(10 * MIB)
    room = volume.room(owner_share=0.1)

    for written in range(0, 1000 * MIB, MIB):
        room.check(written)
