"""Where sound stands: holes are filled, jitter and wrong clocks move nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction

import pytest

from transcription.media.clock import (
    FREE_SILENCE_SECONDS,
    SILENCE_FOR_SOUND,
    Hole,
    Opening,
    SampleClock,
)

FRAME = 0.02


def place(
    stamps: Sequence[float | None], *, seconds: float = FRAME, **settings: float
) -> tuple[list[int | Hole], SampleClock[int]]:
    """Run numbered frames of one length over a clock."""
    line: SampleClock[int] = SampleClock(**settings)
    placed: list[int | Hole] = []
    for number, stamp in enumerate(stamps):
        if line.follows(stamp, seconds):
            placed.append(number)
        else:
            placed += line.place(number, stamp=stamp, seconds=seconds)
    placed += line.finish()
    return placed, line


def steady(count: int, *, start: float = 0.0) -> list[float]:
    return [start + number * FRAME for number in range(count)]


def frames(placed: list[int | Hole]) -> list[int]:
    return [piece for piece in placed if not isinstance(piece, Hole)]


def spans(holes: list[Hole]) -> list[tuple[float, float]]:
    return [(hole.start, hole.end) for hole in holes]


@pytest.mark.parametrize("start", [0.0, -0.064, 4999.98, 1.7e9])
def test_a_steady_clock_leaves_no_hole_wherever_it_starts(start):
    placed, line = place(steady(500, start=start))

    assert placed == list(range(500))
    assert line.jumps == []


def test_a_frame_that_follows_is_placed_alike():
    for stamps in (steady(500), steady(50) + steady(50, start=21.0)):
        line: SampleClock[int] = SampleClock()
        alone = [
            piece
            for number, stamp in enumerate(stamps)
            for piece in line.place(number, stamp=stamp, seconds=FRAME)
        ]

        assert [*alone, *line.finish()] == place(stamps)[0]


def test_jitter_is_no_hole():
    chance = random.Random(1)
    stamps = [stamp + chance.uniform(-0.2, 0.2) for stamp in steady(5000)]

    placed, line = place(stamps)

    assert placed == list(range(5000))
    assert line.jumps == []


def test_a_hole_is_put_where_time_stamps_show_it():
    placed, line = place(steady(50) + steady(50, start=21.0))

    assert spans(line.holes) == [pytest.approx((1.0, 21.0))]
    assert placed == [*range(50), line.holes[0], *range(50, 100)]


@pytest.mark.parametrize("outlier", [5.0, -5.0, 90_000.0])
def test_a_single_wrong_time_stamp_moves_nothing(outlier):
    stamps = steady(100)
    stamps[40] += outlier

    placed, line = place(stamps)

    assert placed == list(range(100))
    assert line.jumps == []


def test_a_few_frames_with_different_wrong_stamps_move_nothing():
    stamps = steady(100)
    for number in range(40, 60):
        stamps[number] += 2.0 * (number - 39)

    placed, _ = place(stamps)

    assert placed == list(range(100))


def test_sound_that_is_lost_bit_by_bit_is_made_up_for():
    # 1 ms is missing after each frame.
    stamps = [number * (FRAME + 0.001) for number in range(1000)]

    placed, line = place(stamps)

    assert frames(placed) == list(range(1000))
    assert sum(hole.seconds for hole in line.holes) == pytest.approx(1.0, abs=0.3)
    assert len(line.holes) <= 4


def test_a_longer_difference_is_a_jump_and_later_holes_are_still_seen():
    stamps = steady(50) + steady(50, start=9000) + steady(50, start=9003)

    placed, line = place(stamps)

    assert line.jumps == [pytest.approx(1.0)]
    assert spans(line.holes) == [pytest.approx((2.0, 4.0))]
    assert frames(placed) == list(range(150))


def test_a_clock_that_begins_again_is_a_jump():
    _, line = place(steady(1000) + steady(50) + steady(50, start=3.0))

    assert line.jumps == [pytest.approx(20.0)]
    assert spans(line.holes) == [pytest.approx((21.0, 23.0))]


def test_sound_that_overlaps_a_little_makes_no_hole_later():
    _, line = place(steady(50) + steady(50, start=0.5) + steady(50, start=2.0))

    assert (line.holes, line.jumps) == ([], [])


def test_frames_without_time_stamps_follow_each_other():
    stamps = [*steady(50), *[None] * 50, *steady(50, start=2.0)]

    placed, line = place(stamps)

    assert placed == list(range(150))
    assert line.jumps == []


def test_one_short_frame_at_the_end_makes_no_hole():
    placed, _ = place([*steady(50), 100.0])

    assert placed == list(range(51))


def test_one_long_frame_at_the_end_does():
    _, line = place([0.0, 1.0, 22.0], seconds=1.0)

    assert line.holes == [Hole(2.0, 22.0)]


def test_silence_is_bounded_by_what_sound_there_is():
    stamps = [number * 500.0 + part * 1.0 for number in range(100) for part in (0, 1)]

    placed, line = place(stamps, seconds=1.0)

    silence = sum(hole.seconds for hole in line.holes)
    assert frames(placed) == list(range(200))
    assert 1000 < silence <= FREE_SILENCE_SECONDS + SILENCE_FOR_SOUND * 200
    assert line.jumps


def test_no_silence_is_put_beyond_the_longest_media():
    _, line = place(steady(50) + steady(50, start=31.0), max_seconds=30)

    assert line.holes == []
    assert line.jumps == [pytest.approx(1.0)]


def test_frames_are_never_held_without_end():
    line: SampleClock[int] = SampleClock()
    list(line.place(0, stamp=0.0, seconds=1e-6))

    placed = [
        piece
        for number in range(1, 1000)
        for piece in line.place(number, stamp=5.0 + number * 1e-6, seconds=1e-6)
    ]

    assert len(frames(placed)) > 900


@pytest.mark.parametrize("seed", range(20))
def test_frames_keep_their_order_and_positions_add_up(seed):
    chance = random.Random(seed)
    stamps: list[float | None] = []
    clock = 0.0
    for _ in range(400):
        clock += FRAME + chance.choice([0.0] * 30 + [0.1, 3.0, -3.0, 700.0, -700.0])
        stamps.append(chance.choice([clock] * 9 + [None]))

    placed, _ = place(stamps)

    assert frames(placed) == list(range(400))
    position = 0.0
    for piece in placed:
        if isinstance(piece, Hole):
            assert piece.start == pytest.approx(position)
            assert piece.seconds > 0
        position = piece.end if isinstance(piece, Hole) else position + FRAME


# --- Before the first sound ----------------------------------------------------------


def test_pictures_before_the_first_sound_make_a_lead_in():
    opening = Opening(60)
    for number in range(100):
        opening.note_time(Fraction(number) + 10)

    assert opening.lead_in_before(110.5) == 100.5
    assert not opening.has_jump


def test_a_header_alone_makes_a_lead_in_up_to_the_longest_step():
    for stamp, expected in ((59.0, 59.0), (61.0, 0.0)):
        opening = Opening(60)
        opening.note_start(Fraction(0))

        assert opening.lead_in_before(stamp) == expected
        assert opening.has_jump == (expected == 0.0)


@pytest.mark.parametrize("seen", [[0, 1, 1490], [0, 1]], ids=["pictures too", "sound"])
def test_a_jump_is_no_lead_in(seen):
    opening = Opening(60)
    for seconds in seen:
        opening.note_time(Fraction(seconds))

    assert opening.lead_in_before(1490.0) == 0.0
    assert opening.has_jump


def test_without_any_time_there_is_no_lead_in():
    assert Opening(60).lead_in_before(5.0) == 0.0
    opening = Opening(60)
    opening.note_start(Fraction(0))
    assert opening.lead_in_before(None) == 0.0
