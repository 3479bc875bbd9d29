"""A service of its own: every part a process that can be found, killed and frozen."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import secrets
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import psutil
import redis
import requests
from celery import Celery
from django.db import connections
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.models import KEY_MARK, PREFIX_LENGTH, ApiKey, User, digest_of
from tests.support.engines import GATE_VARIABLE
from tests.support.processes import is_alive
from tests.support.waiting import wait_for
from transcription.engines.plan import parse_plan
from transcription.models import TranscriptionTask, WorkerSlot
from transcription.services.slots import slot_name
from whisperhub import databases
from whisperhub.broker import to_redis_url
from whisperhub.queues import queue_names
from whisperhub.redis import QUIET_SECONDS
from workers.broker import answers
from workers.stack import PARTS, Stack, free_port

TWO_SLOTS: Final = "one=cpu=demo, two=cpu=demo"
START_SECONDS: Final = 120.0
REQUEST_SECONDS: Final = 60.0
LOG_MOMENT: Final = "2026-11-22 10:58:52,476"
LOG_MOMENT_FORM: Final = "%Y-%m-%d %H:%M:%S,%f"
# The stack's parts that are there to be harmed; Flower only watches.
WITHOUT_FLOWER: Final = tuple(part for part in PARTS if part != "flower")


class Service:
    """A running stack with two inference slots, seen from outside and from below.

    As a context manager it is up, with its slots, inside the block.

    Args:
        folder: its data.
        database_url: as WHISPERHUB_DATABASE_URL has it; empty: SQLite in the folder.
        database: the alias under which this process reads the service's rows; any but
            "default" is made here.
        broker_url: of a broker that somebody else runs; empty: the stack has its own.
        plan: the slots to begin with.
        variables: more of the service's environment.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str = "",
        database: str = "default",
        broker_url: str = "",
        plan: str = TWO_SLOTS,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.database = database
        self.plan = plan
        self.gate = folder / "hold"
        self._plan_file = folder / "slots.txt"
        self._resources = ExitStack()
        self.stack = Stack(
            data_dir=folder / "data",
            port=free_port(),
            broker_url=broker_url,
            parts=[
                part for part in WITHOUT_FLOWER if part != "broker" or not broker_url
            ],
            console=lambda line: None,
            environment={
                "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
                GATE_VARIABLE: str(folder),
                "WHISPERHUB_DATABASE_URL": database_url,
                "WHISPERHUB_SLOTS_FILE": str(self._plan_file),
                "WHISPERHUB_CPU_THREADS": "1",
                # Times are measured: these are the ones that operators have.
                "WHISPERHUB_LEASE_SECONDS": "15",
                "WHISPERHUB_HEARTBEAT_SECONDS": "3",
                "WHISPERHUB_DISPATCH_SECONDS": "2",
                # The receiver of callbacks.
                "WHISPERHUB_OUTGOING_ALLOWED": "127.0.0.0/8",
                "WHISPERHUB_OUTGOING_PORTS": "1024-65535",
                "WHISPERHUB_LOG_TO_FILE": "true",
                "WHISPERHUB_LOG_LEVEL": "INFO",
                "WHISPERHUB_LOG_FILE_SIZE": "1GiB",
                **(variables or {}),
            },
        )
        if database != "default":
            _add_database(database, database_url, self.stack.data_dir)
        self.session = requests.Session()
        # What the environment says of proxies is not for this address.
        self.session.trust_env = False
        # One that is kept may be closed in the moment in which it is used again.
        self.session.headers["Connection"] = "close"

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            resources.callback(self.session.close)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._plan_file.write_text(self.plan)
            resources.enter_context(self.stack)
            resources.callback(connections[self.database].close)
            resources.callback(self._disconnect)
            self._sign_in()
            self.wait_for_slots()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self.resume_all()
        self._resources.close()

    def _disconnect(self) -> None:
        for name in ("broker", "celery"):
            if name in vars(self):
                getattr(self, name).close()

    def _sign_in(self) -> None:
        """Make a user with a key, and use that."""
        secret = KEY_MARK + secrets.token_urlsafe(16)
        owner = User(username=f"chaos-{secrets.token_hex(4)}")
        owner.save(using=self.database)
        ApiKey.objects.using(self.database).create(
            owner=owner,
            name="chaos",
            prefix=secret[:PREFIX_LENGTH],
            digest=digest_of(secret),
        )
        self.session.headers["Authorization"] = f"Bearer {secret}"

    # --- The API ---------------------------------------------------------------------

    def post(self, content: bytes, **fields: Any) -> requests.Response:
        """Submit a file; the answer, whatever it is."""
        name = fields.pop("file_name", "a.wav")
        return self.session.post(
            f"{self.stack.url}/api/v1/tasks/",
            files={"file": (name, content)},
            data={"temperature": "0", **fields},
            timeout=REQUEST_SECONDS,
        )

    def submit(self, content: bytes, **fields: Any) -> str:
        """Submit a file that must be accepted; the task's id."""
        answer = self.post(content, **fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    # --- The rows --------------------------------------------------------------------

    @property
    def tasks(self) -> Any:
        """All rows of tasks."""
        return TranscriptionTask.objects.using(self.database)

    def task(self, task_id: str) -> TranscriptionTask:
        """The row of one task."""
        row: TranscriptionTask = self.tasks.get(public_id=task_id)
        return row

    def wait_for_status(
        self, task_ids: Sequence[str], *statuses: str, seconds: float = 90.0
    ) -> list[TranscriptionTask]:
        """Wait until all of these tasks are in one of these states."""

        def look() -> list[TranscriptionTask]:
            rows = list(self.tasks.filter(public_id__in=task_ids))
            there = [row for row in rows if row.status in statuses]
            return rows if len(there) == len(task_ids) else []

        return wait_for(look, seconds=seconds, named=lambda: self._told(task_ids))

    def _told(self, task_ids: Sequence[str]) -> str:
        rows = self.tasks.filter(public_id__in=task_ids).values_list(
            "status", "attempts", "losses", "error_code", "lease_owner", "dispatched_at"
        )
        return f"The end of {list(rows)} {self.said()}"

    def whole_log(self) -> str:
        """What the service's processes have logged."""
        log = self.stack.log_dir / "whisperhub.log"
        return log.read_text(errors="replace")

    def said(self) -> str:
        """The end of what they have logged."""
        return f"\n{self.whole_log()[-3000:]}\n"

    def printed(self, part: str) -> str:
        """What a part of the stack wrote to its output."""
        log = self.stack.log_dir / f"{part}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def lines_with(self, words: str) -> str:
        """The lines of the service's log that hold these words."""
        return "\n".join(
            line for line in self.whole_log().splitlines() if words in line
        )

    @property
    def media_root(self) -> Path:
        """Where the service keeps files."""
        return self.stack.data_dir / "media"

    def files_of(self, task_id: str) -> list[str]:
        """What lies in a task's folder, the folder itself included."""
        folder = self.media_root / "tasks" / task_id[:2] / task_id
        return [str(path) for path in (folder, *folder.glob("*")) if path.exists()]

    def reconnect(self) -> None:
        """Let go of this process's connection to a database that was restarted."""
        connections[self.database].close()

    # --- Holding jobs ----------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every job inside its engine for the length of the block."""
        self.gate.touch()
        try:
            yield
        finally:
            # A test may have opened it before.
            self.gate.unlink(missing_ok=True)

    # --- Slots -----------------------------------------------------------------------

    def replan(self, plan: str) -> None:
        """Have these slots and no others."""
        if plan == self.plan:
            self.wait_for_slots()
            return
        self.plan = plan
        self._plan_file.write_text(plan)
        os.kill(self.pid("inference"), signal.SIGHUP)
        wanted = set(self.slot_names())
        wait_for(
            lambda: set(self.slot_pids()) == wanted,
            seconds=START_SECONDS,
            named=self.said,
        )
        self.wait_for_slots()

    def _slots(self) -> Any:
        return parse_plan(self.plan, default_engine="faster-whisper")

    def slot_names(self) -> list[str]:
        """The slots of the plan."""
        return [slot.name for slot in self._slots()]

    def wait_for_slots(self) -> None:
        """Return when every slot of the plan takes jobs."""
        for name in self.slot_names():
            self.wait_for_slot(name)

    def wait_for_slot(self, name: str) -> None:
        """Return when a slot takes jobs."""
        wait_for(lambda: self.is_ready(name), seconds=START_SECONDS, named=self.said)

    def is_ready(self, name: str) -> bool:
        """Whether the slot's present process takes jobs."""
        row = (
            WorkerSlot.objects.using(self.database)
            .filter(name=slot_name(name), state=WorkerSlot.State.READY)
            .first()
        )
        return row is not None and self.slot_pids().get(name) == row.pid

    def slot_pids(self) -> dict[str, int]:
        """The processes of the slots, by name."""
        found = {}
        for process in children(self.stack.pids().get("inference")):
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if len(words) > 2 and words[-2] == "runslot":
                    found[words[-1].partition("=")[0]] = process.pid
        return found

    def slot_of(self, task_id: str) -> str:
        """The slot that runs a task."""
        return self.task(task_id).lease_owner.partition("@")[0]

    # --- Processes -------------------------------------------------------------------

    def pid(self, part: str) -> int:
        """The process of a part of the stack, or of a slot."""

        def look() -> int:
            return self.stack.pids().get(part) or self.slot_pids().get(part) or 0

        return wait_for(look, seconds=START_SECONDS, named=f"The process of {part}")

    def kill(self, part: str) -> int:
        """End a part, with all its children, as a crash would; its process id."""
        pid = self.pid(part)
        send(family(pid), signal.SIGKILL)
        wait_for(lambda: not is_alive(pid), named=f"The end of {part}")
        return pid

    def kill_alone(self, part: str, *, and_guard: bool = False) -> None:
        """End a part, but not its children, except for the guard if that is wanted."""
        pid = self.pid(part)
        guards = [child.pid for child in children(pid) if "--guard" in child.cmdline()]
        send([*(guards if and_guard else []), pid], signal.SIGKILL)
        wait_for(lambda: not is_alive(pid), named=f"The end of {part}")

    def frozen(self, part: str) -> AbstractContextManager[None]:
        """Stop a part, with all its children, for the length of the block."""
        return _frozen(family(self.pid(part)))

    def frozen_alone(self, part: str) -> AbstractContextManager[None]:
        """Stop a part, but not its children, for the length of the block."""
        return _frozen([self.pid(part)])

    def resume_all(self) -> None:
        """Let everything run that was frozen."""
        for pid in self.stack.pids().values():
            send(family(pid), signal.SIGCONT)

    # --- The broker ------------------------------------------------------------------

    @functools.cached_property
    def broker(self) -> redis.Redis:
        """A client of the service's broker; it connects anew after each fault."""
        client: redis.Redis = redis.Redis.from_url(
            to_redis_url(self.stack.broker_url),
            socket_timeout=5,
            socket_connect_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )
        return client

    def restart_broker(self) -> None:
        """Kill the broker and wait until it is back, with what it had on disk."""
        self.kill("broker")
        self.wait_for_broker()

    def wait_for_broker(self) -> None:
        """Return when the broker answers."""
        wait_for(
            lambda: answers(self.stack.broker_url),
            seconds=START_SECONDS,
            named="The broker",
        )

    def wait_for_publishers(self) -> None:
        """Return when every process sends its hints again after a fault of the broker.

        A process that could not publish leaves the broker alone for a while, and says
        so in the log. Meanwhile its hints are the dispatcher's to send.
        """
        wait_for(
            lambda: self._seconds_since_failed_publish() > QUIET_SECONDS,
            named=self.said,
        )

    def _seconds_since_failed_publish(self) -> float:
        failures = [
            line
            for line in self.whole_log().splitlines()
            if "hint not sent" in line or "no news went out" in line
        ]
        if not failures:
            return math.inf
        text = failures[-1][: len(LOG_MOMENT)]
        # Django sets the zone of its processes.
        moment = datetime.strptime(text, LOG_MOMENT_FORM).replace(tzinfo=UTC)
        return (datetime.now(UTC) - moment).total_seconds()

    def hints(self, kind: str) -> int:
        """How many messages wait in the queues of a stage or a model."""
        lengths: list[Any] = [self.broker.llen(name) for name in queue_names(kind)]
        return sum(lengths)

    @functools.cached_property
    def celery(self) -> Any:
        """An application that sends messages of its own to the workers."""
        return Celery("chaos", broker=self.stack.broker_url, set_as_current=False)

    def wait_for_consumer(self, slot: str) -> None:
        """Return when a slot's worker answers over the broker."""
        wait_for(
            lambda: self.celery.control.ping([slot_name(slot)], timeout=1),
            seconds=START_SECONDS,
            named=self.said,
        )


def _add_database(alias: str, url: str, data_dir: Path) -> None:
    """Let this process read another database than Django's own."""
    made = databases.settings_from_url(url, data_dir=data_dir)
    connections.databases[alias] = connections.configure_settings({"default": made})[
        "default"
    ]


@contextmanager
def _frozen(pids: Sequence[int]) -> Iterator[None]:
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


def children(pid: int | None) -> list[psutil.Process]:
    """All processes below another; none below one that is gone."""
    if pid is None:
        return []
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def family(pid: int) -> list[int]:
    """A process and all below it, itself first."""
    return [pid, *(child.pid for child in children(pid))]


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal processes of which some may have gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._began
