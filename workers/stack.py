"""The whole service on one machine: broker, web, workers, dispatcher and Flower."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from transcription.engines.plan import DEMO, model_slug
from whisperhub import secrets
from whisperhub.broker import local_url
from whisperhub.loopback import check_open_mode
from whisperhub.queues import CALLBACKS, PREPARE, queue_names
from workers import broker
from workers.devices import cores
from workers.readiness import READY_VARIABLE
from workers.supervisor import Program, Supervisor, stop_on_signals, write_to_stderr

PARTS: Final = (
    "broker",
    "migrate",
    "web",
    "media",
    "callbacks",
    "inference",
    "dispatcher",
    "flower",
)
# A killed stack's guard ends what it left within seconds and keeps the lock until then.
LOCK_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
# One answers a hundred submissions or two hundred pages a second.
MOST_WEB_PROCESSES: Final = 4
# A web process that hangs for so long is replaced. uvicorn's 5 s are soon over where a
# model computes on every core.
HANGING_SECONDS: Final = 30


class StackError(Exception):
    """The stack cannot start here; the message is a sentence for the operator."""


def slots_for(model: str, engine: str) -> str:
    """The slot plan (WHISPERHUB_SLOTS) that serves one model.

    On every GPU found, else on the CPU; the demo model, which is tiny, on the CPU.
    """
    device = "cpu" if model == DEMO else "auto"
    if Path(model).expanduser().exists():
        # The workers may run in another folder than the person who named it.
        model = str(Path(model).expanduser().resolve())
    return f"{device}={model}@{engine}"


def web_processes(count: int) -> int:
    """How many a machine with so many cores has, if its operator does not say."""
    return min(count, MOST_WEB_PROCESSES)


def media_children() -> int:
    """How many files a machine prepares at once: one more than an owner's may be."""
    return int(settings.MEDIA_WORKERS) + 1


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int, variable: str) -> None:
    """Refuse a port we could not listen on.

    Raises:
        StackError: it is in use, forbidden, or `host` is not of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: connections of an earlier run that still linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StackError(
                    f"Port {port} on {host} is in use. Stop what listens there, or set "
                    f"{variable} to a free port."
                ) from error
            raise StackError(
                f"Cannot listen on {host} port {port}: {error.strerror}. "
                f"Set {variable} to another one."
            ) from error


def listens(pid: int | None, port: int) -> bool:
    """Whether this very process listens on a TCP port: another one's does not count."""
    if pid is None:
        return False
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in connections
    )


@contextmanager
def exclusive_lock(path: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """Hold a lock file with our process id in it; give its descriptor.

    Raises:
        StackError: another process holds it. If that one has died, its last children
            get `seconds` to end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while not try_lock(descriptor):
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            if is_process(owner) or time.monotonic() > deadline:
                raise StackError(
                    f"A stack of this data folder already runs (process {owner}). "
                    "Stop it first, or set WHISPERHUB_DATA_DIR to another folder."
                )
            time.sleep(POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take an exclusive lock unless somebody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_process(text: str) -> bool:
    """Whether `text` is the id of a living process."""
    if not text.isdigit():
        return False
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Stack:
    """Everything the service needs, as child processes of this one.

    As a context manager it is up inside the block; `run` stays until a signal. What is
    not given comes from the settings, and reaches the children by their environment.

    Args:
        data_dir: database, queue, media and logs; one stack per folder.
        host: where the web server listens.
        port: likewise.
        flower_port: where Flower listens, on loopback.
        broker_url: a broker that runs already; empty: one of our own.
        model: what the inference workers load; None: what the settings say.
        engine: likewise.
        environment: more variables for the children.
        parts: which of PARTS to start.
        console: receives each line meant for the operator.
        verbose: all output of the children goes there.
    """

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        host: str | None = None,
        port: int | None = None,
        flower_port: int | None = None,
        broker_url: str | None = None,
        model: str | None = None,
        engine: str | None = None,
        environment: Mapping[str, str] | None = None,
        parts: Collection[str] = PARTS,
        console: Callable[[str], None] = write_to_stderr,
        verbose: bool = False,
    ) -> None:
        self.data_dir = (data_dir or settings.DATA_DIR).resolve()
        is_settings_data = self.data_dir == settings.DATA_DIR
        self.log_dir = settings.LOG_DIR if is_settings_data else self.data_dir / "logs"
        self.run_dir = self.data_dir / "run"
        self.broker_dir = self.data_dir / "broker"
        self.host = host or settings.HOST
        self.port = port or settings.PORT
        self.flower_port = flower_port or settings.FLOWER_PORT
        configured = settings.BROKER_URL if broker_url is None else broker_url
        self.has_own_broker = not configured
        self.broker_url = configured or local_url(self.broker_dir)
        self.parts = parts
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "whisperhub.settings",
            # Lines reach the log when they are written.
            "PYTHONUNBUFFERED": "1",
            "WHISPERHUB_DATA_DIR": str(self.data_dir),
            "WHISPERHUB_LOG_DIR": str(self.log_dir),
            "WHISPERHUB_HOST": self.host,
            "WHISPERHUB_PORT": str(self.port),
            "WHISPERHUB_FLOWER_PORT": str(self.flower_port),
        }
        if broker_url is not None:
            self.environment["WHISPERHUB_BROKER_URL"] = broker_url
        if not is_settings_data:
            self.environment["WHISPERHUB_MEDIA_DIR"] = str(self.data_dir / "media")
        if engine:
            self.environment["WHISPERHUB_ENGINE"] = engine
        if model:
            self.environment["WHISPERHUB_DEFAULT_MODEL"] = model_slug(model)
            self.environment["WHISPERHUB_SLOTS"] = slots_for(
                model, engine or settings.ENGINE
            )
        self.environment |= environment or {}
        self._console = console
        self._verbose = verbose
        self._resources = ExitStack()
        self._supervisor: Supervisor | None = None

    # --- What an operator sees -------------------------------------------------------

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the service."""
        return f"http://{self._visible_host(self.host)}:{self.port}"

    @property
    def flower_url(self) -> str:
        """Where a browser on this machine finds Flower."""
        return f"http://127.0.0.1:{self.flower_port}"

    @property
    def flower_credentials(self) -> tuple[str, str]:
        """User and password of Flower; a password is made at the first call.

        Raises:
            StackError: Flower could not read them.
        """
        user = settings.FLOWER_USER
        password = settings.FLOWER_PASSWORD or secrets.read_or_create(
            self.flower_password_file
        )
        # Flower splits the list of its users at commas and compares ASCII only.
        if not (user + password).isascii() or "," in user + password or ":" in user:
            raise StackError(
                "WHISPERHUB_FLOWER_USER and WHISPERHUB_FLOWER_PASSWORD may hold ASCII "
                "characters only and no comma, the user no colon either."
            )
        return user, password

    @property
    def flower_password_file(self) -> Path:
        """Where the password lies that was made for want of a configured one."""
        return self.data_dir / "flower_password"

    @property
    def flower_password_source(self) -> str:
        """Where an operator finds the password."""
        if settings.FLOWER_PASSWORD:
            return "WHISPERHUB_FLOWER_PASSWORD"
        return str(self.flower_password_file)

    @staticmethod
    def _visible_host(host: str) -> str:
        if host in {"0.0.0.0", "::"}:  # noqa: S104
            return "localhost"
        return f"[{host}]" if ":" in host else host

    def pids(self) -> dict[str, int]:
        """The process ids of the parts that run, by name."""
        return {} if self._supervisor is None else self._supervisor.pids()

    # --- Running ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start everything; return when the service answers.

        Raises:
            StackError: it cannot start here.
            ProgramFailedError: a part did not come up.
        """
        with ExitStack() as resources:
            supervisor = resources.enter_context(self._prepared())
            resources.enter_context(supervisor.in_background())
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything, in order."""
        self._resources.close()

    def run(self, *, when_up: Callable[[], None]) -> None:
        """Start everything, call `when_up`, stay until a signal, stop everything.

        For the main thread.

        Raises:
            StackError: it cannot start here.
            ProgramFailedError: a part did not come up.
        """
        with self._prepared() as supervisor, stop_on_signals(supervisor):
            supervisor.run(when_up=when_up)

    @contextmanager
    def _prepared(self) -> Iterator[Supervisor]:
        with exclusive_lock(self.run_dir / "stack.lock") as lock:
            self._supervisor = Supervisor(
                self._stages(),
                log_dir=self.log_dir,
                log_bytes=settings.LOG_FILE_BYTES,
                console=self._console,
                verbose=self._verbose,
                hold=[lock],
            )
            yield self._supervisor

    def _stages(self) -> list[list[Program]]:
        if "web" in self.parts:
            if settings.OPEN_MODE:
                self._check_open_mode()
            check_port(self.host, self.port, "WHISPERHUB_PORT")
        if "flower" in self.parts:
            check_port("127.0.0.1", self.flower_port, "WHISPERHUB_FLOWER_PORT")
        stages: list[list[Program]] = []
        if "broker" in self.parts:
            stages.append(self._broker())
        if "migrate" in self.parts:
            stages.append([self._migrate()])
        makers = {
            "web": self._web,
            "media": self._media,
            "callbacks": self._callbacks,
            "inference": self._inference,
            "dispatcher": self._dispatcher,
        }
        stages.append([make() for name, make in makers.items() if name in self.parts])
        # Flower asks all workers at its start, and complains when none answers.
        if "flower" in self.parts:
            stages.append([self._flower()])
        return stages

    def _check_open_mode(self) -> None:
        try:
            check_open_mode(self.host, settings.ALLOWED_HOSTS)
        except ImproperlyConfigured as error:
            raise StackError(str(error)) from error

    def _broker(self) -> list[Program]:
        if broker.answers(self.broker_url):
            return []
        if self.has_own_broker:
            try:
                log_file = self.log_dir / "broker.log"
                return [broker.server_program(self.broker_dir, log_file)]
            except ImproperlyConfigured as error:
                raise StackError(str(error)) from error
        # Not an error: every part waits for it, and tasks are accepted meanwhile.
        self._console(
            "The broker of WHISPERHUB_BROKER_URL does not answer; "
            "tasks wait until it does."
        )
        return []

    def _program(
        self,
        name: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        is_ready: Callable[[], bool] | None = None,
        runs_once: bool = False,
        patience_seconds: float = 10.0,
    ) -> Program:
        return Program(
            name=name,
            command=[sys.executable, *arguments],
            cwd=settings.BASE_DIR,
            environment={**self.environment, **(environment or {})},
            is_ready=is_ready,
            # A slow disk and a cold cache: importing alone may take a minute.
            ready_seconds=180,
            runs_once=runs_once,
            patience_seconds=patience_seconds,
            hint=f"Its log is {self.log_dir / name}.log.",
        )

    def _announced(
        self, name: str, *arguments: str, patience_seconds: float
    ) -> Program:
        """A program that says itself when it is ready; see workers/readiness.py."""
        ready_file = self.run_dir / f"{name}.ready"
        ready_file.unlink(missing_ok=True)
        return self._program(
            name,
            *arguments,
            environment={READY_VARIABLE: str(ready_file)},
            is_ready=ready_file.exists,
            patience_seconds=patience_seconds,
        )

    def _migrate(self) -> Program:
        return self._program(
            "migrate", "manage.py", "migrate", "--noinput", runs_once=True
        )

    def _web(self) -> Program:
        return self._program(
            "web",
            *("-m", "uvicorn", "whisperhub.asgi:application"),
            *("--http", "whisperhub.web.protocol:LimitedHttpProtocol"),
            *("--host", self.host, "--port", str(self.port)),
            *("--workers", str(settings.WEB_PROCESSES or web_processes(cores()))),
            *("--timeout-worker-healthcheck", str(HANGING_SECONDS)),
            *("--no-access-log", "--lifespan", "off", "--ws", "none"),
            # `network.proxies` reads them; uvicorn would believe any local program.
            "--no-proxy-headers",
            # A browser that listens for events would keep it for ever.
            *("--timeout-graceful-shutdown", "5"),
            # It listens once the application is loaded.
            is_ready=lambda: listens(self.pids().get("web"), self.port),
        )

    def _media(self) -> Program:
        return self._worker(
            "media",
            *("-Q", ",".join(queue_names(PREPARE)), "-P", "prefork"),
            *("-c", str(media_children())),
            patience_seconds=20,
        )

    def _callbacks(self) -> Program:
        return self._worker(
            "callbacks",
            # They do nothing but wait for receivers.
            *("-Q", CALLBACKS, "-P", "threads", "-c", str(settings.CALLBACK_WORKERS)),
            # What is under way ends by its own deadline.
            patience_seconds=settings.CALLBACK_SECONDS + 10,
        )

    def _worker(self, name: str, *arguments: str, patience_seconds: float) -> Program:
        return self._announced(
            name,
            *("-m", "celery", "-A", "whisperhub", "worker", "-n", f"{name}@%h"),
            *arguments,
            *("--include", "workers.readiness", "-l", settings.LOG_LEVEL),
            *("--without-gossip", "--without-mingle"),
            patience_seconds=patience_seconds,
        )

    def _inference(self) -> Program:
        return self._program(
            "inference", "manage.py", "runworkers", patience_seconds=40
        )

    def _dispatcher(self) -> Program:
        return self._program("dispatcher", "manage.py", "rundispatcher")

    def _flower(self) -> Program:
        user, password = self.flower_credentials
        return self._program(
            "flower",
            *("-m", "workers.viewer", "-A", "whisperhub", "flower"),
            *("--address=127.0.0.1", f"--port={self.flower_port}"),
            # Without it a visitor could stop workers and drop messages.
            "--read_only=True",
            *("--persistent=True", f"--db={self.data_dir / 'flower'}"),
            *("--state_save_interval=10000", "--purge_offline_workers=300"),
            "--inspect_timeout=3000",
            # Not on the command line, which every user of the machine can read.
            environment={"FLOWER_BASIC_AUTH": f"{user}:{password}"},
            is_ready=lambda: listens(self.pids().get("flower"), self.flower_port),
        )
