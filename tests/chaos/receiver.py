"""A client's server that hears of ended tasks, and is not always well."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from typing import Any, Final

from tests.support.receivers import Behaviour, Received, Receiver, answering

# How often it answers 503 to what it has heard all the same.
REFUSED_SHARE: Final = 0.1


class MoodyReceiver(Receiver):
    """Notes what it takes at each of its paths, and refuses the rest."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._lock = threading.Lock()
        self._taken: dict[str, list[Any]] = defaultdict(list)

    def url_for(self, name: str) -> str:
        """The address for one submission."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def behaviour_for(self, request: Received) -> Behaviour:
        """Refuse a delivery, or take it and note what it says."""
        with self._lock:
            if self._rng.random() < REFUSED_SHARE:
                return answering(503)
            self._taken[request.path.strip("/")].append(request.json())
        return answering(204)

    def knows(self, name: str, status: str) -> bool:
        """Whether a submission's end was heard of, in its final form."""
        with self._lock:
            return any(
                body["type"] == f"task.{status}" and body["data"]["status"] == status
                for body in self._taken[name]
            )
