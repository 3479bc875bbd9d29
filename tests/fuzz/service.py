"""The whole service on data of its own, a key that may do all, and a neighbour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from accounts.models import ApiKey, User
from accounts.scopes import Scope
from tests.fuzz.surroundings import OWNER
from tests.support.receivers import Behaviour, Received, Receiver, answering
from tests.support.recordings import read_recording, to_wav
from tests.support.waiting import wait_for
from transcription.audio import SAMPLE_RATE
from transcription.engines.plan import DEMO
from transcription.models import WorkerSlot
from workers.stack import PARTS, Stack, free_port

START_SECONDS: Final = 120.0
# All but the viewer.
SERVING: Final = tuple(part for part in PARTS if part != "flower")
TRACEBACK: Final = "Traceback (most recent call last)"
# An answer of 500 or above, as Django logs it, and as what is around it does.
FAILED: Final = (" ERROR django.request ", " ERROR whisperhub.web.request_id ")
CLIP_SECONDS: Final = 2


class Neighbour(Receiver):
    """The only other server there is: links lead to it, callbacks go to it."""

    def __init__(self) -> None:
        super().__init__()
        clip = to_wav(read_recording("es")[: CLIP_SECONDS * SAMPLE_RATE])
        self._clip = answering(200, clip, Content_Type="audio/wav")

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    def behaviour_for(self, request: Received) -> Behaviour:
        # Thousands come; nobody asks for them later.
        self.received.clear()
        if request.path.startswith("/speech"):
            return self._clip
        if request.path.startswith("/callback"):
            return answering(204)
        return answering(404)


@dataclass(frozen=True)
class FuzzedService:
    """A running stack.

    Attributes:
        stack: its processes.
        key: of a staff account, with every scope.
        key_id: what the API calls that key.
    """

    stack: Stack
    key: str
    key_id: str

    def tracebacks(self) -> list[str]:
        """Each traceback that any part has logged or printed, with what follows it."""
        found = []
        for log in sorted(self.stack.log_dir.glob("*.log")):
            text = log.read_text(encoding="utf-8", errors="replace")
            found += [
                f"{log.name}: {TRACEBACK}{rest[:3000]}"
                for rest in text.split(TRACEBACK)[1:]
            ]
        return found

    def server_errors(self) -> list[str]:
        """The lines of the log that tell of answers of 500 and above."""
        log = self.stack.log_dir / "whisperhub.log"
        with log.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip() for line in lines if any(f in line for f in FAILED)]

    def megabytes(self) -> dict[str, float]:
        """The memory that belongs to each part alone, its children included."""
        return {part: _megabytes(pid) for part, pid in self.stack.pids().items()}


def _megabytes(pid: int) -> float:
    parent = psutil.Process(pid)
    total = 0
    for process in [parent, *parent.children(recursive=True)]:
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue  # It has ended.
    return total / 1e6


@contextmanager
def running_service(
    data_dir: Path, variables: Mapping[str, str]
) -> Iterator[FuzzedService]:
    """Run it, with the bundled model loaded, for the length of the block.

    This process must see the service's database as its own.
    """
    stack = Stack(
        data_dir=data_dir,
        port=free_port(),
        broker_url="",
        model=DEMO,
        parts=SERVING,
        console=lambda line: None,
        environment=variables,
    )
    with stack:
        wait_for(
            lambda: WorkerSlot.objects.filter(state=WorkerSlot.State.READY).exists(),
            seconds=START_SECONDS,
            named="The inference worker",
        )
        owner = User.objects.create(username=OWNER, is_staff=True)
        key, secret = ApiKey.issue(owner, "fuzz", scopes=list(Scope))
        yield FuzzedService(stack, secret, str(key.public_id))
