"""Which jobs of a process may run side by side: all, but a suspect runs alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Admission:
    """Lets jobs in together, and one that may kill the process by itself.

    A job whose workers died more than once is a suspect: run alone, it takes nobody
    along when it is guilty, and its end clears or convicts it.
    """

    def __init__(self) -> None:
        """Nobody runs yet."""
        self._condition = threading.Condition()
        self._running = 0
        self._suspects_waiting = 0
        self._alone = False
        self._closed = False

    def close(self) -> None:
        """Let nobody in any more: the process is about to end."""
        with self._condition:
            self._closed = True

    @contextmanager
    def enter(self, *, alone: bool) -> Iterator[None]:
        """Wait for the turn of a job, and keep it for the length of the block."""
        with self._condition:
            if alone:
                self._suspects_waiting += 1
                try:
                    self._condition.wait_for(
                        lambda: not self._running and not self._closed
                    )
                finally:
                    self._suspects_waiting -= 1
                self._alone = True
            else:
                # Those that come later wait, or a suspect would never find it empty.
                self._condition.wait_for(
                    lambda: (
                        not self._alone
                        and not self._suspects_waiting
                        and not self._closed
                    )
                )
            self._running += 1
        try:
            yield
        finally:
            with self._condition:
                self._running -= 1
                if alone:
                    self._alone = False
                self._condition.notify_all()


admission = Admission()
