"""Which jobs of a process may run side by side: all, but a suspect runs alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings

# How many times a suspect is asked after in the time for which it is set aside.
LOOKS_IN_LEASE: Final = 4


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
    def enter(self) -> Iterator[None]:
        """Wait until a job may run, and keep its place for the length of the block."""
        with self._condition:
            # While a suspect waits too, or it would never find the process empty.
            self._condition.wait_for(
                lambda: (
                    not self._alone and not self._suspects_waiting and not self._closed
                )
            )
            self._running += 1
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def enter_alone(self, still_wanted: Callable[[], bool]) -> Iterator[bool]:
        """Wait until a suspect may run alone, and let nobody in during the block.

        Args:
            still_wanted: asked now and then while it waits, in this thread.

        Yields:
            False if it was not wanted any more.
        """
        with self._condition:
            self._suspects_waiting += 1
        entered = False
        try:
            while not (entered := self._enter_if_empty()) and still_wanted():
                pass
        finally:
            with self._condition:
                self._suspects_waiting -= 1
                self._condition.notify_all()
        try:
            yield entered
        finally:
            if entered:
                with self._condition:
                    self._alone = False
                self._leave()

    def _enter_if_empty(self) -> bool:
        """Wait a while for everybody to leave; False if somebody is still there."""
        with self._condition:
            empty = self._condition.wait_for(
                lambda: not self._running and not self._closed,
                timeout=settings.LEASE_SECONDS / LOOKS_IN_LEASE,
            )
            if empty:
                self._alone = True
                self._running += 1
            return empty

    def _leave(self) -> None:
        with self._condition:
            self._running -= 1
            self._condition.notify_all()


admission = Admission()
