"""Where sound stands in the media: time stamps checked against the samples so far.

The count of samples is the clock. Time stamps correct it: a hole in them is sound that
is missing, and silence takes its place, so that what follows keeps the time that a
player shows. Time stamps also lie. A jump that no hole explains sets a new origin and
moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

T = TypeVar("T")

# Time stamps of real files are rounded (Matroska: 1 ms) and jitter, in live recordings
# by some 100 ms. Below this nothing is done; beyond it all of the difference is mended,
# so that the next bit of jitter does not mend it again.
TOLERANCE_SECONDS = 0.25
# Recordings that run slower than their time stamps say only end earlier; nothing can be
# taken out of them.
BACKWARD_TOLERANCE_SECONDS = 1.0
# A difference counts when at least two frames and so much sound agree on it: single
# time stamps are often wrong.
CONFIRMING_SECONDS = 0.2
# A codec's frame may be one sample long.
MAX_HELD_FRAMES = 64

# A muted participant of a call leaves holes of minutes.
MAX_HOLE_SECONDS = 600.0
# Formats for broadcast have clocks that begin again: a splice, or a recording that was
# paused. FFmpeg takes any jump of 10 s there for such a one; a lost signal is longer.
MAX_HOLE_SECONDS_OF_BROADCAST = 60.0
# Silence that a few bytes may claim, and what sound earns.
FREE_SILENCE_SECONDS = 1800.0
SILENCE_FOR_SOUND = 3.0
# Smaller steps backward change times by too little to tell.
TOLD_BACKWARD_SECONDS = 10.0


@dataclass(frozen=True)
class Hole:
    """Missing sound, in seconds of the media: silence stands in its place."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


class Opening:
    """What is known of the time before the first sound: when the media begins.

    Attributes:
        has_jump: its time stamps jump further than any media stand still.
    """

    def __init__(self, max_step_seconds: float) -> None:
        """Begin without a time stamp."""
        self.has_jump = False
        self._max_step_seconds = max_step_seconds
        self._start: Fraction | None = None
        self._latest: Fraction | None = None

    def note_start(self, seconds: Fraction) -> None:
        """Hear when a header says that a stream begins."""
        if self._start is None or seconds < self._start:
            self._start = seconds

    def note_time(self, seconds: Fraction) -> None:
        """Hear of a time stamp of a picture."""
        self.note_start(seconds)
        if self._latest is None:
            self._latest = seconds
        if seconds - self._latest > self._max_step_seconds:
            self.has_jump = True
        self._latest = max(seconds, self._latest)

    def lead_in_before(self, stamp: float | None) -> float:
        """How long the media run before the first sound; 0 if nothing tells.

        Args:
            stamp: of the first frame of sound.
        """
        if stamp is None or self._start is None:
            return 0.0
        before = self._start if self._latest is None else self._latest
        if stamp - before > self._max_step_seconds:
            self.has_jump = True
        return 0.0 if self.has_jump else max(0.0, float(stamp - self._start))


@dataclass(frozen=True)
class _Held(Generic[T]):
    item: T
    seconds: float
    # How much later its time stamp is than the samples before it make it.
    drift: float


class SampleClock(Generic[T]):
    """Puts holes between frames as their time stamps demand.

    Frames come back in their order; a few are held while a difference is confirmed.

    Attributes:
        holes: those found so far, in order.
        jumps: where the clock of the time stamps jumped, in seconds of the media.
    """

    def __init__(
        self,
        *,
        start: float = 0.0,
        max_hole_seconds: float = MAX_HOLE_SECONDS,
        max_seconds: float = float("inf"),
    ) -> None:
        """Begin a recording.

        Args:
            start: where its first frame stands, in seconds of the media.
            max_hole_seconds: longer differences are jumps of the clock.
            max_seconds: of the media; no silence is put beyond.
        """
        self.holes: list[Hole] = []
        self.jumps: list[float] = []
        self._max_hole_seconds = max_hole_seconds
        self._max_seconds = max_seconds
        # Where the next frame stands.
        self._position = start
        self._heard = 0.0
        self._filled = 0.0
        # A time stamp less this is a position.
        self._origin: float | None = None
        self._held: list[_Held[T]] = []

    def follows(self, stamp: float | None, seconds: float) -> bool:
        """Whether a frame follows at once, as nearly all do; it is counted then.

        The others go to `place`, which takes several times as long.
        """
        if self._held:
            return False
        if stamp is not None:
            if self._origin is None:
                self._origin = stamp - self._position
            drift = stamp - self._origin - self._position
            if not -BACKWARD_TOLERANCE_SECONDS < drift < TOLERANCE_SECONDS:
                return False
        self._position += seconds
        self._heard += seconds
        return True

    def place(
        self, item: T, *, stamp: float | None, seconds: float
    ) -> Iterator[T | Hole]:
        """Take a frame and yield what has its place.

        Args:
            item: the frame.
            stamp: its time stamp in seconds; None: it has none, and follows.
            seconds: its length.
        """
        drift = self._drift(stamp)
        if -BACKWARD_TOLERANCE_SECONDS < drift < TOLERANCE_SECONDS:
            # What was held were outliers.
            yield from self._release()
            yield self._pass(item, seconds)
            return
        if self._held and abs(drift - self._held[0].drift) > TOLERANCE_SECONDS:
            yield from self._release()
        self._held.append(_Held(item, seconds, drift))
        if self._is_confirmed():
            yield from self._settle()

    def finish(self) -> Iterator[T | Hole]:
        """Yield what is left."""
        if self._held and (
            len(self._held) > 1 or self._held_seconds() >= CONFIRMING_SECONDS
        ):
            yield from self._settle()
        yield from self._release()

    def _drift(self, stamp: float | None) -> float:
        if stamp is None:
            return self._held[-1].drift if self._held else 0.0
        position = self._position + self._held_seconds()
        if self._origin is None:
            self._origin = stamp - position
        return stamp - self._origin - position

    def _held_seconds(self) -> float:
        return sum(held.seconds for held in self._held)

    def _is_confirmed(self) -> bool:
        count = len(self._held)
        return count >= MAX_HELD_FRAMES or (
            count > 1 and self._held_seconds() >= CONFIRMING_SECONDS
        )

    def _settle(self) -> Iterator[T | Hole]:
        """Mend the difference that the held frames agree on."""
        drift = min((held.drift for held in self._held), key=abs)
        if self._is_hole(drift):
            hole = Hole(self._position, self._position + drift)
            self.holes.append(hole)
            self._position = hole.end
            self._filled += hole.seconds
            yield hole
        else:
            if drift > 0 or drift < -TOLD_BACKWARD_SECONDS:
                self.jumps.append(self._position)
            self._origin = (self._origin or 0.0) + drift
        yield from self._release()

    def _is_hole(self, drift: float) -> bool:
        allowed = FREE_SILENCE_SECONDS + SILENCE_FOR_SOUND * self._heard
        return (
            0 < drift <= self._max_hole_seconds
            and self._filled + drift <= allowed
            and self._position + drift <= self._max_seconds
        )

    def _release(self) -> Iterator[T]:
        held, self._held = self._held, []
        for frame in held:
            yield self._pass(frame.item, frame.seconds)

    def _pass(self, item: T, seconds: float) -> T:
        self._position += seconds
        self._heard += seconds
        return item
