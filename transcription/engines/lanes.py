"""The chunks of many jobs on few threads: urgent first, then by owner, then by job."""

from __future__ import annotations

import itertools
import queue
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from transcription.engines.coalescing import (
    Caller,
    CallerStoppedError,
    CoalescingWhisper,
)

Work = Callable[[], Any]


@dataclass(eq=False)
class _Job:
    caller: Caller
    number: int
    pending: deque[tuple[int, Work]]
    # (position, result, error)
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = field(
        default_factory=queue.SimpleQueue
    )
    served: int = 0


class ChunkLanes:
    """Threads that run chunks; each priority has as many, so that urgent ones find one.

    An idle lane costs a sleeping thread. Which of the chunks under way the model serves
    first is for `CoalescingWhisper` to say.

    Args:
        whisper: the model the chunks call.
        lanes: threads of each priority.
    """

    def __init__(self, whisper: CoalescingWhisper, lanes: int) -> None:
        """Start no thread yet."""
        self._whisper = whisper
        self._lanes = lanes
        self._numbers = itertools.count()
        self._condition = threading.Condition()
        self._jobs: dict[int, list[_Job]] = defaultdict(list)
        self._threads: dict[int, int] = defaultdict(int)
        # Chunks under way, by priority and owner.
        self._at_work: Counter[tuple[int, int | None]] = Counter()
        self._closing = False

    def run(self, caller: Caller, works: Sequence[Work]) -> Iterator[tuple[int, Any]]:
        """Run the chunks of one job; gives each result with its position, as they end.

        The calling thread only waits. A chunk that fails ends the job: the others are
        dropped, those under way withdrawn.

        Raises:
            CallerStoppedError: the job was told to stop.
            Exception: what a chunk raised.
        """
        job = _Job(caller, next(self._numbers), deque(enumerate(works)))
        with self._condition:
            self._jobs[caller.priority].append(job)
            missing = self._lanes - self._threads[caller.priority]
            for _ in range(min(missing, len(works))):
                self._start_lane(caller.priority)
            self._condition.notify_all()
        try:
            for _ in works:
                position, result, error = job.done.get()
                if error is not None:
                    raise error
                yield position, result
        finally:
            with self._condition:
                job.pending.clear()
                self._jobs[caller.priority].remove(job)
            self._whisper.stop_calls(caller)

    def stop(self, caller: Caller) -> None:
        """Wake the thread of a job that is to stop, and drop what it has under way."""
        self._whisper.stop_calls(caller)
        with self._condition:
            for job in self._jobs[caller.priority]:
                if job.caller is caller:
                    job.pending.clear()
                    job.done.put((STOPPED, None, CallerStoppedError()))

    def close(self) -> None:
        """End the threads, each after the chunk it has under way."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()

    def _start_lane(self, priority: int) -> None:
        self._threads[priority] += 1
        threading.Thread(
            target=self._serve,
            args=(priority,),
            name=f"lane {priority}.{self._threads[priority]}",
            daemon=True,
        ).start()

    def _serve(self, priority: int) -> None:
        while (taken := self._take(priority)) is not None:
            job, position, work = taken
            try:
                with self._whisper.calls_of(job.caller):
                    result = work()
            except BaseException as error:  # noqa: BLE001  (goes to the job's thread)
                # This lane may be back for more before the job's thread is awake.
                with self._condition:
                    job.pending.clear()
                job.done.put((position, None, error))
            else:
                job.done.put((position, result, None))
                # Kept until the next chunk otherwise: a window's features are large.
                del result
            with self._condition:
                self._at_work[priority, job.caller.owner_id] -= 1
            del taken, job, work

    def _take(self, priority: int) -> tuple[_Job, int, Work] | None:
        """The next chunk of this priority; None: the end.

        It is of the owner with the fewest chunks under way, and of his jobs that of the
        least served. So a stream of short jobs, each of them served least, leaves the
        long one of another owner its share.
        """
        with self._condition:
            while not self._closing:
                ready = [job for job in self._jobs[priority] if job.pending]
                if ready:
                    job = min(ready, key=self._rank)
                    position, work = job.pending.popleft()
                    job.served += 1
                    self._at_work[priority, job.caller.owner_id] += 1
                    return job, position, work
                self._condition.wait()
            return None

    def _rank(self, job: _Job) -> tuple[int, int, int]:
        caller = job.caller
        at_work = self._at_work[caller.priority, caller.owner_id]
        return at_work, job.served, job.number


STOPPED: Final = -1
