"""Starts programs in order, keeps them up, and stops them."""

from __future__ import annotations

import os
import selectors
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from whisperhub.edges import Edge, guarded
from workers import leash
from workers.supervisor.children import Child, Guard
from workers.supervisor.programs import (
    LineFilter,
    LogFile,
    Program,
    ProgramFailedError,
    describe_exit,
    write_to_stderr,
)

# How often a dead child and a readiness check are looked for. Mostly the end of the
# child's output comes first; a grandchild that keeps the pipe open hides that.
STARTING_POLL_SECONDS: Final = 0.05
RUNNING_POLL_SECONDS: Final = 0.5
READ_BYTES: Final = 65_536
HURRY_SECONDS: Final = 1.0


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
