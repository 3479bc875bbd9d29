"""An end in time for whatever is done over connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class Deadline:
    """Shuts every connection made under it when its time is up.

    The timeouts of `requests` are for a single read: a server that sends a byte now and
    then is never too late for them. The time begins with the `with` block.
    """

    def __init__(self, seconds: float) -> None:
        """Set the time."""
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._parts: list[Deadline] = []
        self._over = threading.Event()

    @property
    def remaining_seconds(self) -> float:
        """What is left; 0 when it is over."""
        if self._over.is_set():
            return 0.0
        return max(0.0, self._ends_at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the connections were shut."""
        return self._over.is_set()

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection too; at once if the time is up already.

        The caller may close it or give its descriptor away, as TLS does: this is done
        to a duplicate.
        """
        with self._lock:
            self._sockets.append(connection.dup())
            if self._over.is_set():
                self._shut()

    @contextmanager
    def part(self) -> Iterator[Deadline]:
        """A deadline with the same end that forgets its connections after the block.

        For what opens many connections, one after the other.
        """
        part = Deadline(self.remaining_seconds)
        with self._lock:
            self._parts.append(part)
            if self._over.is_set():
                part.cut()
        try:
            yield part
        finally:
            with self._lock:
                self._parts.remove(part)
            part._forget()

    def cut(self) -> None:
        """Be over now."""
        with self._lock:
            self._over.set()
            self._shut()
            for part in self._parts:
                part.cut()

    def check(self) -> None:
        """Raise TimeoutError if the time is up."""
        if self._over.is_set() or time.monotonic() >= self._ends_at:
            raise TimeoutError("The time is up.")

    def _shut(self) -> None:
        for connection in self._sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # It has ended by itself.

    def _forget(self) -> None:
        with self._lock:
            for connection in self._sockets:
                connection.close()
            self._sockets.clear()

    def __enter__(self) -> Self:
        """Begin to count."""
        self._ends_at = time.monotonic() + self._seconds
        self._timer = threading.Timer(self._seconds, self.cut)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._timer.cancel()
        self._forget()
