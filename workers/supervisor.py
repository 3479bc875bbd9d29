"""Runs a set of named programs as one: starts them in order, keeps them up, stops them.

Everything happens in the one thread that calls `Supervisor.run`, which sleeps in a
selector; `request_stop` may come from a signal handler or from another thread.
"""

from __future__ import annotations

import logging
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Final

from whisperhub.edges import Edge, guarded
from whisperhub.logging import escaped
from workers import leash
from workers.readiness import READY_VARIABLE

logger = logging.getLogger(__name__)

LEASH: Final = str(Path(leash.__file__).resolve())
# Isolated from the user's environment and without site-packages: starts in 15 ms.
LEASH_PYTHON: Final = (sys.executable, "-I", "-S", LEASH)

# How often a dead child and a readiness check are looked for. Mostly the end of the
# child's output comes first; a grandchild that keeps the pipe open hides that.
STARTING_POLL_SECONDS: Final = 0.05
RUNNING_POLL_SECONDS: Final = 0.5
TAIL_LINES: Final = 15
READ_BYTES: Final = 65_536
# A line without an end would grow for ever.
MAX_LINE_BYTES: Final = 16_384
HURRY_SECONDS: Final = 1.0

BACKOFF_FIRST_SECONDS: Final = 0.5
BACKOFF_LIMIT_SECONDS: Final = 30.0
# A child that ran this long before it died starts the back-off anew.
STABLE_SECONDS: Final = 30.0

# The level as logging, Celery and uvicorn write it, and as Flower's Tornado does:
# "[W 261122 10:32:52 command:168] …".
LEVEL: Final = re.compile(
    r"\b(?:(?P<loud>WARNING|ERROR|CRITICAL)|DEBUG|INFO)\b|^\[(?:(?P<bad>[WEC])|[DI]) \d"
)
LEVEL_COLUMNS: Final = 60


class ProgramFailedError(Exception):
    """A program did not come up: a sentence, and the end of its output."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One child process as its owner describes it.

    Attributes:
        name: what its lines on the console begin with; unique in a supervisor.
        command: program and arguments.
        environment: variables on top of our own.
        cwd: working folder; None: ours.
        is_ready: asked until it says yes; must answer within a second. None: ready as
            soon as it runs, or for `runs_once` when it has ended well.
        ready_seconds: how long that may take.
        runs_once: comes to its end by itself, before the next stage starts.
        must_start: its death before it was ready ends the supervisor; otherwise it is
            started again like any other.
        patience_seconds: from SIGTERM to SIGKILL.
        final_statuses: exit statuses after which starting it again is of no use.
        hint: a sentence for the operator when it does not come up.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    is_ready: Callable[[], bool] | None = None
    ready_seconds: float = 60.0
    runs_once: bool = False
    must_start: bool = True
    patience_seconds: float = 10.0
    final_statuses: frozenset[int] = frozenset()
    hint: str = ""


class LineFilter:
    """Decides which lines of a child's output an operator should see.

    Lines without a level (the rest of a traceback) go the way of the line above.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._loud = False

    def shows(self, line: str) -> bool:
        """Whether this next line belongs on the console."""
        match = LEVEL.search(line[:LEVEL_COLUMNS])
        if match:
            self._loud = bool(match["loud"] or match["bad"])
        elif line.startswith("Traceback (most recent call last)"):
            self._loud = True
        return self._verbose or self._loud


class LogFile(RotatingFileHandler):
    """The lines of one child in a file of its own, turned over at a size."""

    def __init__(self, path: Path, *, max_bytes: int, backup_count: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(
            path, maxBytes=max_bytes, backupCount=backup_count, encoding="utf-8"
        )

    def write(self, line: str) -> None:
        """Append one line."""
        self.emit(logging.makeLogRecord({"msg": line}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Let it pass: a full disk is no reason to stop the service."""


class Guard:
    """The process that ends our children when we are killed; see workers/leash.py.

    Created by a supervisor before its first child. It also holds the descriptors in
    `hold`, so that a lock of ours is free only when the last child is gone.
    """

    def __init__(self, hold: Sequence[int] = ()) -> None:
        self._hold = tuple(hold)
        self._groups: set[int] = set()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*LEASH_PYTHON, "--guard"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=self._hold,
        )

    def add(self, group: int) -> None:
        """Entrust a process group to it."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Take back a group that has ended."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is None:
            raise RuntimeError("The guard was started without a pipe.")
        try:
            pipe.write(line.encode())
            pipe.flush()
        except (BrokenPipeError, ValueError):
            # It is closed where starting another guard had failed.
            logger.warning("The guard process died; starting another")
            self._discard()
            self._process = self._start()
            for group in self._groups:
                self._tell(f"+{group}\n")

    def _discard(self) -> None:
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        self._process.wait()

    def close(self) -> None:
        """Let it go; by now no group should be left, and it ends those that are."""
        self._discard()


class Child:
    """One run or several runs, one after the other, of a program."""

    def __init__(
        self, program: Program, *, shows: LineFilter, log: LogFile | None
    ) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.log = log
        self.shows = shows
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.was_ready = False
        self.ready_by = 0.0
        self.started_at = 0.0
        self.failures = 0
        self.restart_at: float | None = None
        self.kill_at: float | None = None
        self.leaving = False
        self._partial = b""

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The running process and its group, None between two runs."""
        return None if self.process is None else self.process.pid

    def spawn(self) -> IO[bytes]:
        """Start a run in a session of its own; return its output, stderr included."""
        self.tail.clear()
        self._partial = b""
        self.restart_at = self.kill_at = None
        self.was_ready = False
        self.started_at = time.monotonic()
        self.ready_by = self.started_at + self.program.ready_seconds
        self.process = subprocess.Popen(
            [*LEASH_PYTHON, "--parent", str(os.getpid()), "--", *self.program.command],
            env={
                **{k: v for k, v in os.environ.items() if k != READY_VARIABLE},
                **self.program.environment,
            },
            cwd=self.program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A Ctrl-C goes to the terminal's group: ours only, so that we stop the
            # children in order.
            start_new_session=True,
        )
        if self.process.stdout is None:
            raise RuntimeError("The child was started without a pipe.")
        os.set_blocking(self.process.stdout.fileno(), False)
        return self.process.stdout

    def split(self, data: bytes) -> Iterator[str]:
        """Whole lines of the output; what is left waits for more, or for its end."""
        self._partial += data
        *lines, self._partial = self._partial.split(b"\n")
        if self._partial and (not data or len(self._partial) > MAX_LINE_BYTES):
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            text = escaped(line.decode("utf-8", "replace").rstrip())
            if text:
                self.tail.append(text)
                yield text

    def signal(self, number: signal.Signals) -> None:
        """Signal the process alone: it knows best how to end its own children."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.process is not None:
            leash.send(self.process.pid, signal.SIGKILL)

    def backoff(self) -> float:
        """Seconds until the next start, doubled by each early death in a row."""
        if time.monotonic() - self.started_at >= STABLE_SECONDS:
            self.failures = 0
        seconds = BACKOFF_FIRST_SECONDS * 2.0**self.failures
        self.failures += 1
        return min(seconds, BACKOFF_LIMIT_SECONDS)


def describe_exit(code: int) -> str:
    """Say how a process ended, from the return code subprocess gives."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def write_to_stderr(line: str) -> None:
    """Write a line for the operator; a terminal that went away is no error."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


class Supervisor:
    """Runs programs stage by stage: those of one stage start together, and the next
    stage waits until all of them are ready. Stages stop in the opposite order.

    Args:
        stages: what to start, in order.
        log_dir: where each child's output goes to `<name>.log`; None: nowhere.
        log_bytes: size at which such a file is turned over.
        log_count: how many turned-over files stay.
        console: receives each line meant for the operator.
        verbose: all output goes to the console, not warnings and errors only.
        hold: open descriptors that must stay open until the last child has ended.
        on_exit: told name, process id and return code of each run that ended; called in
            the supervisor's thread. An error of it is logged and changes nothing else.
    """  # noqa: D205

    def __init__(
        self,
        stages: Sequence[Sequence[Program]],
        *,
        log_dir: Path | None = None,
        log_bytes: int = 10 * 2**20,
        log_count: int = 1,
        console: Callable[[str], None] = write_to_stderr,
        verbose: bool = False,
        hold: Sequence[int] = (),
        on_exit: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._log_dir = log_dir
        self._log_bytes = log_bytes
        self._log_count = log_count
        self._console = console
        self._verbose = verbose
        self._hold = hold
        self._on_exit = on_exit
        self._stages = [[self._child(program) for program in stage] for stage in stages]
        self._wake_reader, self._wake_writer = os.pipe()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.set_blocking(descriptor, False)
            # Not at the end of `run`: a late `request_stop` would write into whatever
            # file has the number then.
            weakref.finalize(self, os.close, descriptor)
        self._guard: Guard | None = None
        self._stop_requests = 0
        self._calls: deque[Callable[[], None]] = deque()
        # Set when every stage is up, and when `run` is over.
        self.started = threading.Event()
        self.finished = threading.Event()

    def _child(self, program: Program) -> Child:
        log = None
        if self._log_dir is not None:
            log = LogFile(
                self._log_dir / f"{program.name}.log",
                max_bytes=self._log_bytes,
                backup_count=self._log_count,
            )
        return Child(program, shows=LineFilter(verbose=self._verbose), log=log)

    # --- For the owner, from any thread or signal handler ----------------------------

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop_requests > 0

    def request_stop(self) -> None:
        """Stop everything in order and let `run` return; asked again: hurry."""
        self._stop_requests += 1
        self._wake()

    def add(self, program: Program) -> None:
        """Start one more program in the last stage; it need not come up at once."""
        self._call(lambda: self._add(program))

    def remove(self, name: str) -> None:
        """Stop one program for good, with its patience."""
        self._call(lambda: self._remove(name))

    def pids(self) -> dict[str, int]:
        """The process ids of the programs that run, by name."""
        return {
            child.name: pid
            for child in self._children()
            if (pid := child.pid) is not None
        }

    def _call(self, function: Callable[[], None]) -> None:
        self._calls.append(function)
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b".")
        except BlockingIOError:
            # Full: it wakes anyway.
            pass

    # --- The life of a supervisor ----------------------------------------------------

    def run(self, *, when_up: Callable[[], None] | None = None) -> None:
        """Start the stages, keep them up until a stop is asked for, stop them.

        Args:
            when_up: called once, when all stages are up.

        Raises:
            ProgramFailedError: a program did not come up; all others were stopped.
        """
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        try:
            self._guard = Guard(self._hold)
            for stage in self._stages:
                self._start_stage(stage)
            if not self.stopping:
                self.started.set()
                if when_up is not None:
                    when_up()
            while not self.stopping:
                self._turn(RUNNING_POLL_SECONDS)
        finally:
            try:
                self._stop_stages()
            finally:
                self._close()

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Run in a thread for the length of a with block, entered once all is up.

        Raises:
            ProgramFailedError: a program did not come up; all others were stopped.
        """
        errors: list[BaseException] = []

        def run() -> None:
            try:
                self.run()
            except BaseException as error:  # noqa: BLE001 - raised again by the caller
                errors.append(error)

        thread = threading.Thread(target=run, name="supervisor")
        thread.start()
        try:
            while not self.started.wait(STARTING_POLL_SECONDS) and thread.is_alive():
                pass
            if not errors:
                yield
        finally:
            self.request_stop()
            # Joined in short steps, since not every system lets a signal interrupt it.
            while thread.is_alive():
                try:
                    thread.join(STARTING_POLL_SECONDS)
                except KeyboardInterrupt:
                    self.request_stop()
            if errors:
                raise errors[0]

    def _start_stage(self, stage: Sequence[Child]) -> None:
        for child in stage:
            if self.stopping:
                return
            self._spawn(child)
        while not self.stopping and not all(self._is_up(child) for child in stage):
            self._turn(STARTING_POLL_SECONDS)

    def _is_up(self, child: Child) -> bool:
        """Whether the next stage need not wait for it (any more)."""
        if child.was_ready or not child.program.must_start:
            return True
        if child.process is None or child.program.runs_once:
            return False
        if child.program.is_ready is None or child.program.is_ready():
            child.was_ready = True
            return True
        if time.monotonic() > child.ready_by:
            raise self._failure(
                child, f"was not ready within {child.program.ready_seconds:g} s"
            )
        return False

    def _stop_stages(self) -> None:
        # Nothing is started again from here on, whatever brought us here.
        self._stop_requests = max(1, self._stop_requests)
        for stage in reversed(self._stages):
            for child in stage:
                self._ask_to_leave(child)
            while any(child.process is not None for child in stage):
                self._turn(STARTING_POLL_SECONDS)

    def _close(self) -> None:
        if self._guard is not None:
            self._guard.close()
        self._selector.close()
        for child in self._children():
            if child.log is not None:
                child.log.close()
        self.finished.set()

    # --- One turn of the loop --------------------------------------------------------

    def _turn(self, seconds: float) -> None:
        """Wait for output, a call or `seconds`, then see to whatever is due."""
        for key, _ in self._selector.select(self._patience(seconds)):
            if key.data is None:
                self._drain_wakes()
            else:
                self._read(key.data)
        while self._calls:
            with guarded(Edge.SUPERVISOR, "at a call of its owner"):
                self._calls.popleft()()
        for child in self._children():
            self._reap(child)
            self._do_what_is_due(child)

    def _patience(self, seconds: float) -> float:
        now = time.monotonic()
        due = [
            moment - now
            for child in self._children()
            for moment in (child.restart_at, child.kill_at)
            if moment is not None
        ]
        return max(0.0, min([seconds, *due]))

    def _drain_wakes(self) -> None:
        try:
            while os.read(self._wake_reader, READ_BYTES):
                pass
        except BlockingIOError:
            pass

    def _children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]

    def _spawn(self, child: Child) -> None:
        output = child.spawn()
        self._selector.register(output, selectors.EVENT_READ, child)
        if self._guard is not None and child.pid is not None:
            self._guard.add(child.pid)

    def _spawn_later(self, child: Child) -> None:
        """Start a program beside others that run: one that fails is tried again."""
        with guarded(Edge.SUPERVISOR, "at a start", about=child.name):
            self._spawn(child)
        if child.process is None:
            child.restart_at = time.monotonic() + child.backoff()

    def _read(self, child: Child) -> bool:
        """Pass on what a child has written; False once there is no more to come."""
        output = child.process.stdout if child.process is not None else None
        if output is None or output.closed:
            return False
        try:
            data = os.read(output.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        self._pass_on(child, data)
        if not data:
            self._selector.unregister(output)
            output.close()
        return bool(data)

    def _pass_on(self, child: Child, data: bytes) -> None:
        for line in child.split(data):
            if child.log is not None:
                child.log.write(line)
            if child.shows.shows(line):
                self._say(f"{child.name:<10} | {line}")

    def _say(self, line: str) -> None:
        with guarded(Edge.SUPERVISOR, "at a line for the console"):
            self._console(line)

    def _reap(self, child: Child) -> None:
        process = child.process
        if process is None:
            return
        code = process.poll()
        if code is None:
            return
        # Whatever it left behind in its group ends with it.
        leash.send(process.pid, signal.SIGKILL)
        while self._read(child):
            pass
        if process.stdout is not None and not process.stdout.closed:
            # A process of another group holds the pipe: what we have is all.
            self._pass_on(child, b"")
            self._selector.unregister(process.stdout)
            process.stdout.close()
        child.process = None
        child.kill_at = None
        if self._guard is not None:
            with guarded(Edge.SUPERVISOR, "at an end", about=child.name):
                self._guard.remove(process.pid)
        if self._on_exit is not None:
            with guarded(Edge.EXIT_HANDLER, about=child.name):
                self._on_exit(child.name, process.pid, code)
        self._after_exit(child, code)

    def _after_exit(self, child: Child, code: int) -> None:
        program = child.program
        if child.leaving:
            self._forget_removed(child)
            return
        if self.stopping:
            return
        if program.runs_once and code == 0:
            child.was_ready = True
            return
        if program.runs_once or (program.must_start and not child.was_ready):
            raise self._failure(child, f"stopped at its start ({describe_exit(code)})")
        if code in program.final_statuses:
            return
        seconds = child.backoff()
        child.restart_at = time.monotonic() + seconds
        self._say(
            f"{child.name} stopped ({describe_exit(code)}); "
            f"starting it again in {seconds:g} s."
        )

    def _do_what_is_due(self, child: Child) -> None:
        now = time.monotonic()
        if child.kill_at is not None and now >= child.kill_at:
            child.kill_at = None
            child.kill()
        if child.restart_at is not None and now >= child.restart_at:
            if self.stopping or child.leaving:
                child.restart_at = None
                return
            self._spawn_later(child)
            # Its first start was what the stage waited for.
            child.was_ready = True
        if self._stop_requests > 1 and child.kill_at is not None:
            child.kill_at = min(child.kill_at, now + HURRY_SECONDS)

    def _ask_to_leave(self, child: Child) -> None:
        child.restart_at = None
        if child.process is not None and child.kill_at is None:
            child.leaving = True
            child.kill_at = time.monotonic() + child.program.patience_seconds
            child.signal(signal.SIGTERM)

    def _add(self, program: Program) -> None:
        if self.stopping:
            return
        if any(child.name == program.name for child in self._children()):
            raise ValueError(f"{program.name} runs already.")
        child = self._child(program)
        child.was_ready = True
        if not self._stages:
            self._stages.append([])
        self._stages[-1].append(child)
        self._spawn_later(child)

    def _remove(self, name: str) -> None:
        for child in self._children():
            if child.name == name:
                child.leaving = True
                self._ask_to_leave(child)
                self._forget_removed(child)

    def _forget_removed(self, child: Child) -> None:
        if self.stopping or child.process is not None:
            return
        for stage in self._stages:
            if child in stage:
                stage.remove(child)
        if child.log is not None:
            child.log.close()

    def _failure(self, child: Child, what: str) -> ProgramFailedError:
        text = f"{child.name} {what}."
        if child.program.hint:
            text += f" {child.program.hint}"
        if child.tail:
            text += " The end of its output:\n"
            text += "\n".join(f"  {line}" for line in child.tail)
        return ProgramFailedError(text)


@contextmanager
def stop_on_signals(supervisor: Supervisor) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP ask for a stop, the second of them for haste.

    For the main thread. A SIGHUP that is ignored (nohup) stays ignored.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    former = {
        number: signal.signal(number, lambda *_: supervisor.request_stop())
        for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
