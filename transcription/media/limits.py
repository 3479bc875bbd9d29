"""What decoding one file may cost: memory, processor time and room on the disk.

A job's `Limits` come from the service; the decoder process watches them. Memory and
processor time are limits that the kernel sets to the process, so that they also end a
call of FFmpeg that does not return.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transcription.errors import NoRoomError
from whisperhub.disk import occupied_bytes

# Free space is looked at once for each so many bytes of samples.
LOOK_BYTES = 2**20
# The limit of processor time has whole seconds; it is moved when so much more audio is
# there.
CPU_STEP_SECONDS = 30.0
STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class Limits:
    """What the decoding of one file may cost.

    Attributes:
        memory_bytes: address space beyond what the process has at the start of the job;
            0: no limit. On Linux only: macOS does not enforce it.
        cpu_seconds: processor time that any file may take; 0: no limit at all.
        cpu_seconds_per_minute: processor time for each minute of audio besides.
        reserve_bytes: what must stay free on the volume of the samples.
        held_bytes: what other samples of the same owner take there.
        owner_share: how much of the room beyond the reserve, taken or free, all samples
            of one owner may take; 0 to 1.
    """

    memory_bytes: int = 0
    cpu_seconds: float = 0.0
    cpu_seconds_per_minute: float = 0.0
    reserve_bytes: int = 0
    held_bytes: int = 0
    owner_share: float = 1.0


class Room:
    """Sees that the samples of one job fit, while they are written."""

    def __init__(
        self, limits: Limits, *, free: Callable[[], int], taken: Callable[[], int]
    ) -> None:
        """Look at once.

        Args:
            limits: of the job.
            free: bytes that are free on the volume.
            taken: bytes that the samples of this job take by now.

        Raises:
            NoRoomError: there is no room for any samples.
        """
        self._limits = limits
        self._free = free
        self._taken = taken
        self._look_at = LOOK_BYTES
        self._look()

    def check(self, written_bytes: int) -> None:
        """Look again if enough was written since the last time.

        Args:
            written_bytes: length of the samples so far; silence takes no room.

        Raises:
            NoRoomError: the reserve or the owner's share would be used up.
        """
        if written_bytes >= self._look_at:
            self._look_at = written_bytes + LOOK_BYTES
            self._look()

    def _look(self) -> None:
        limits = self._limits
        # The next look comes after this much more.
        free = self._free() - limits.reserve_bytes - LOOK_BYTES
        if free < 0:
            raise NoRoomError
        held = limits.held_bytes + self._taken()
        # What the owner has counts as room: it becomes free again.
        if held and held > limits.owner_share * (free + held):
            raise NoRoomError


def room_for(destination: Path, limits: Limits) -> Room:
    """The room for a samples file that grows."""
    return Room(
        limits,
        free=lambda: shutil.disk_usage(destination.parent).free,
        taken=lambda: occupied_bytes(destination),
    )


class ProcessorTime:
    """Limits the processor time of this process by the audio that came of it.

    When it is used up the kernel ends the process with SIGXCPU.
    """

    def __init__(self, limits: Limits) -> None:
        """Allow what a file without any audio may take."""
        self._limits = limits
        self._began = time.process_time()
        self._allowed_to = -math.inf
        self.allow(0.0)

    def allow(self, audio_seconds: float) -> None:
        """Allow for so many seconds of audio."""
        if not self._limits.cpu_seconds:
            _set_soft_limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)
            return
        if audio_seconds < self._allowed_to + CPU_STEP_SECONDS:
            return
        self._allowed_to = audio_seconds
        share = self._limits.cpu_seconds_per_minute / 60
        budget = self._limits.cpu_seconds + share * audio_seconds
        _set_soft_limit(resource.RLIMIT_CPU, math.ceil(self._began + budget))


def limit_memory(memory_bytes: int) -> None:
    """Let the address space of this process grow by so much; 0: without limit."""
    if sys.platform != "linux":
        return
    limit = address_space_bytes() + memory_bytes
    _set_soft_limit(
        resource.RLIMIT_AS, limit if memory_bytes else resource.RLIM_INFINITY
    )


def address_space_bytes() -> int:
    """The address space of this process; 0 where the system does not tell."""
    if not STATM.exists():
        return 0
    pages = int(STATM.read_text(encoding="ascii").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _set_soft_limit(which: int, limit: int) -> None:
    """Set a limit that this process may raise again."""
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        limit = hard if limit == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(which, (limit, hard))
