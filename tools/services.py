"""Private PostgreSQL and MariaDB servers for tests, started here and stopped again.

`python -m tools.services run -- command…` runs a command with their addresses in
WHISPERHUB_TEST_POSTGRESQL_URL and WHISPERHUB_TEST_MARIADB_URL; without a command the
servers run until Ctrl-C. A variable that is set already is left alone: that server is
used. The machine's own running servers are never touched; only their programs are.

Data and sockets lie in a temporary folder, not below the checkout: PostgreSQL refuses
to run as root, so that root starts it as another user, who cannot enter our folders;
and the path of a socket holds about a hundred characters.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

DATABASE: Final = "whisperhub"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.05
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h

# Where packages put programs that are on no PATH.
PROGRAM_FOLDERS: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local/opt/postgresql*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/opt/homebrew/opt/mariadb/bin",
)
# A zone that is not UTC: what forgets to say UTC fails in the tests.
POSTGRESQL_ZONE: Final = "Asia/Shanghai"
MARIADB_ZONE: Final = "+08:00"


class ServiceError(Exception):
    """A server cannot be had; the message says what to do."""


@dataclass
class Server:
    """One private database server; made by `postgresql` or `mariadb`.

    The thread that launches it must live as long as it does: with that thread's end
    the kernel ends the server, so that none outlives a killed parent.

    Attributes:
        kind: postgresql or mariadb.
        folder: its own, deleted by `discard`.
        prepare: makes its empty database files.
        command: runs it in the foreground.
        user: who runs it; None: whoever we are.
        stop_signal: ends it without waiting for its clients.
        probe: connects, and makes our database if it is not there; raises if the
            server does not answer yet.
        url: its address, as WHISPERHUB_DATABASE_URL has it.
    """

    kind: str
    folder: Path
    prepare: Sequence[str]
    command: Sequence[str]
    user: str | None
    stop_signal: signal.Signals
    probe: Callable[[Path], None]
    url: str
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            ServiceError: it does not; the end of its log is in the message.
        """
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start its process, on the data it left or on none."""
        if not (self.folder / "data").exists():
            self._prepare()
        with self._log.open("ab") as log:
            self.process = self._popen(self.command, log)

    def wait(self) -> None:
        """Return when the launched process answers.

        Raises:
            ServiceError: it does not; the end of its log is in the message.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.probe(self.folder)
            except Exception as error:
                # Each driver has its own tree of errors; the deadline decides.
                ended = self.process is None or self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    self.stop()
                    raise ServiceError(
                        f"{self.kind} does not start: {error}\n{self._log_end()}"
                    ) from error
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop it and wait; its data stay."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End it as a power cut would; its data stay."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def discard(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        # What was killed in the middle of its work may still write for a moment.
        deadline = time.monotonic() + STOP_SECONDS
        while self.folder.exists() and time.monotonic() < deadline:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _log_end(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-20:])

    def _prepare(self) -> None:
        with self._log.open("ab") as log:
            process = self._popen(self.prepare, log)
        try:
            status = process.wait()
        except BaseException:
            # It is a script with children of its own, all in one group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if status:
            raise ServiceError(
                f"{self.kind}: {self.prepare[0]} failed.\n{self._log_end()}"
            )

    def _popen(self, command: Sequence[str], log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            # Ours may be closed to the server's user.
            env={**os.environ, "TMPDIR": str(self.folder)},
            # A terminal's Ctrl-C goes to us alone: we stop it in order.
            start_new_session=True,
            preexec_fn=self._tie_to_parent(),
            **self._credentials(),
        )

    def _credentials(self) -> dict[str, Any]:
        if self.user is None:
            return {}
        entry = pwd.getpwnam(self.user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _tie_to_parent(self) -> Callable[[], None] | None:
        if sys.platform != "linux":
            return None
        prctl, number = ctypes.CDLL(None).prctl, int(self.stop_signal)
        # It runs after the change of user, which would undo it.
        return lambda: prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


# --- The two kinds -------------------------------------------------------------------


def postgresql() -> Server:
    """A PostgreSQL server of our own, not started yet.

    Raises:
        ServiceError: its programs are not on this machine.
    """
    initdb, postgres = find_program("initdb"), find_program("postgres")
    user = unprivileged_user("postgres")
    folder = make_folder("pg", user)
    data = str(folder / "data")
    return Server(
        kind="postgresql",
        folder=folder,
        prepare=[
            initdb,
            "--pgdata",
            data,
            "--username",
            DATABASE,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ],
        command=[
            postgres,
            "-D",
            data,
            "-k",
            str(folder),
            "-c",
            "listen_addresses=",
            "-c",
            f"timezone={POSTGRESQL_ZONE}",
            # Nothing in it outlives the tests.
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
        ],
        user=user,
        stop_signal=signal.SIGINT,  # fast shutdown; SIGTERM waits for every client
        probe=_probe_postgresql,
        url=f"postgresql://{DATABASE}@/{DATABASE}?host={folder}",
    )


def mariadb() -> Server:
    """A MariaDB server of our own, not started yet.

    Raises:
        ServiceError: its programs are not on this machine.
    """
    install = find_program("mariadb-install-db", "mysql_install_db")
    mariadbd = find_program("mariadbd")
    user = unprivileged_user("mysql")
    folder = make_folder("my", user)
    data = f"--datadir={folder / 'data'}"
    return Server(
        kind="mariadb",
        folder=folder,
        prepare=[
            install,
            "--no-defaults",
            data,
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ],
        command=[
            mariadbd,
            "--no-defaults",
            data,
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
            "--skip-networking",
            f"--default-time-zone={MARIADB_ZONE}",
            "--max-allowed-packet=64M",
            # Nothing in it outlives the tests; a kill alone loses nothing.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=64M",
        ],
        user=user,
        stop_signal=signal.SIGTERM,
        probe=_probe_mariadb,
        url=f"mariadb://root@localhost/{DATABASE}?unix_socket={folder / 'socket'}",
    )


def _probe_postgresql(folder: Path) -> None:
    import psycopg

    with psycopg.connect(
        host=str(folder), user=DATABASE, dbname="postgres", autocommit=True
    ) as connection:
        known = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
        )
        if not known.fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _probe_mariadb(folder: Path) -> None:
    import pymysql

    path = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        # PyMySQL leaves its socket open when nobody listens.
        listener.connect(path)
    connection = pymysql.connect(unix_socket=path, user="root")
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARSET utf8mb4")


@dataclass(frozen=True)
class Kind:
    """A kind of server: how to make one, how to install it, where a given one is."""

    name: str
    make: Callable[[], Server]
    debian_package: str

    @property
    def variable(self) -> str:
        """The environment variable with its address."""
        return f"WHISPERHUB_TEST_{self.name.upper()}_URL"


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("mariadb", mariadb, "mariadb-server"),
        Kind("postgresql", postgresql, "postgresql"),
    )
}


# --- Programs and folders ------------------------------------------------------------


def find_program(*names: str) -> str:
    """The path of the first of these programs that is installed, newest version first.

    Raises:
        ServiceError: none is.
    """
    for name in names:
        if found := shutil.which(name):
            return found
        candidates = [
            program
            for pattern in PROGRAM_FOLDERS
            for program in Path("/").glob(f"{pattern[1:]}/{name}")
        ]
        if candidates:
            return str(max(candidates, key=_version))
    raise ServiceError(f"{names[0]} is not installed.")


def _version(program: Path) -> list[int]:
    return [int(word) for word in program.parts if word.isdigit()]


def unprivileged_user(preferred: str) -> str | None:
    """Whom root starts a server as; None if we are not root."""
    if os.geteuid() != 0:
        return None
    for name in (preferred, "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise ServiceError("There is no user to run a server as.")


def make_folder(mark: str, user: str | None) -> Path:
    """A private folder that belongs to the server's user."""
    folder = Path(tempfile.mkdtemp(prefix=f"wh-{mark}-"))
    if user is not None:
        shutil.chown(folder, user)
    return folder


def install(packages: Sequence[str]) -> None:
    """Install Debian packages without letting them start a service.

    Raises:
        ServiceError: we are not root, this is no Debian, or apt-get failed.
    """
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ServiceError(
            f"Install {' and '.join(packages)}, or set the variables of servers that "
            "tests may use."
        )
    with services_do_not_start():
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (
            ["update", "-qq"],
            ["install", "-qq", "-y", "--no-install-recommends", *packages],
        ):
            ended = subprocess.run(
                ["apt-get", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                check=False,
            )
            if ended.returncode:
                raise ServiceError(f"apt-get {arguments[0]} failed.")


@contextmanager
def services_do_not_start(
    policy: Path = Path("/usr/sbin/policy-rc.d"),
) -> Iterator[None]:
    """Debian's switch: packages ask this program before they start what they bring."""
    if policy.exists():
        # The machine has a rule of its own, as containers do.
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


# --- All together --------------------------------------------------------------------


@contextmanager
def running(
    wanted: Sequence[str] = tuple(KINDS),
    *,
    required: bool = False,
    may_install: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[dict[str, str]]:
    """Have servers for as long as the block runs; gives kind to address.

    Args:
        wanted: the kinds.
        required: a kind that cannot be had is an error; otherwise it is left out.
        may_install: whether missing programs may be installed.
        environment: where addresses of given servers are read.

    Raises:
        ServiceError: a required server cannot be had.
    """
    urls = {
        name: url for name in wanted if (url := environment.get(KINDS[name].variable))
    }
    with ExitStack() as stack:
        servers = []
        for name in wanted:
            if name in urls:
                continue
            try:
                server = _make(KINDS[name], may_install=may_install)
            except ServiceError as error:
                if required:
                    raise
                print(f"No {name} here: {error}", file=sys.stderr)
                continue
            stack.callback(server.discard)
            servers.append(server)
            server.launch()
        for server in servers:
            server.wait()
            urls[server.kind] = server.url
        yield urls


def _make(kind: Kind, *, may_install: bool) -> Server:
    try:
        return kind.make()
    except ServiceError:
        if not may_install:
            raise
    install([kind.debian_package])
    return kind.make()


def run_command(command: Sequence[str], urls: Mapping[str, str]) -> int:
    """Run a command that finds the servers in its environment; returns its status."""
    variables = {KINDS[name].variable: url for name, url in urls.items()}
    process = subprocess.Popen(list(command), env={**os.environ, **variables})
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # The terminal sent it to the command as well, which ends by itself.
            continue
        except SystemExit:
            process.terminate()
            process.wait()
            raise
        return status if status >= 0 else 128 - status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.services", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--only", choices=KINDS, action="append", help="start this kind only"
    )
    parser.add_argument(
        "--install",
        action="store_true",
        default=is_ci(),
        help="install missing programs on Debian or Ubuntu, as root; CI=true does too",
    )
    parser.add_argument(
        "--required",
        action="store_true",
        default=is_ci(),
        help="fail when a server cannot be had; CI=true does too",
    )
    parser.add_argument(
        "run", nargs="?", choices=["run"], help="run the command that follows after --"
    )
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: list[str] = []
    if "--" in given:
        start = given.index("--")
        given, command = given[:start], given[start + 1 :]
    chosen = parser.parse_args(given)
    if bool(chosen.run) != bool(command):
        parser.error("a command is given as: run -- command…")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with running(
            chosen.only or tuple(KINDS),
            required=chosen.required,
            may_install=chosen.install,
        ) as urls:
            for name, url in urls.items():
                print(f"export {KINDS[name].variable}='{url}'", flush=True)
            if command:
                return run_command(command, urls)
            return _wait()
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 1


def _wait() -> int:
    print("Ctrl-C stops them.", file=sys.stderr, flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    return 0


def is_ci() -> bool:
    """Whether this is a run of CI, where nothing may be left out."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


if __name__ == "__main__":
    sys.exit(main())
