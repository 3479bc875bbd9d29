"""A client's server that hears of ended tasks, and is not always well."""

from __future__ import annotations

import json
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

# How often it answers 503 to what it has heard all the same.
REFUSED_SHARE: Final = 0.1


class Receiver:
    """Notes what is posted to each of its paths."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lock = threading.Lock()
        self._heard: dict[str, list[Any]] = defaultdict(list)
        self._server: ThreadingHTTPServer | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen for the length of the block."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                taken = receiver.hear(self.path.strip("/"), self.rfile.read(length))
                self.send_response(204 if taken else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def url_for(self, name: str) -> str:
        """The address for one submission."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def hear(self, name: str, body: bytes) -> bool:
        """Note a delivery; whether it is taken."""
        with self._lock:
            if self._rng.random() < REFUSED_SHARE:
                return False
            self._heard[name].append(json.loads(body))
            return True

    def knows(self, name: str, status: str) -> bool:
        """Whether a submission's end was heard of, in its final form."""
        with self._lock:
            return any(_says(body, status) for body in self._heard[name])


def _says(body: Any, status: str) -> bool:
    """Whether a document tells this state anywhere."""
    if isinstance(body, dict):
        return any(_says(value, status) for value in body.values())
    if isinstance(body, list):
        return any(_says(value, status) for value in body)
    return body in (status, f"task.{status}")
