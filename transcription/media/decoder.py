"""Decode in a process of its own, whose death is known and blamed on the file.

A file of 600 bytes can claim tables of gigabytes, and a bug of FFmpeg can end the
process that meets it. So a worker hands each file to a `decoder_process`, which has
limits that the kernel enforces. A process is used again after an ordinary file; after
one that broke it, or that met a limit, the next file gets a new one.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final

from transcription import errors
from transcription.errors import (
    DecoderLostError,
    DecodingTooExpensiveError,
    InvalidMediaError,
)
from transcription.media.decoder_messages import (
    READY,
    Answer,
    DecodeJob,
    Outcome,
    Refusal,
    StorageFailure,
)
from transcription.media.facts import DecodedAudio, TrackChoice
from transcription.media.limits import Limits
from transcription.media.types import EVERY_TYPE, AllowedTypes
from transcription.notices import NoticeCode
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)

PROGRAM = "transcription.media.decoder_process"
ROOT: Final = Path(__file__).resolve().parents[2]
# Notices name some places, and no more.
MOST_ANSWER_BYTES: Final = 2**20
# Importing on a slow disk may take a minute.
START_SECONDS: Final = 300.0
# A process that is ending does so within this time.
END_SECONDS: Final = 10.0
# Of which modules answers hold dataclasses.
ANSWER_MODULES: Final = re.compile(r"transcription\.(media\.\w+|notices)")
# What else stands in an answer.
ANSWER_CLASSES: Final = frozenset({Sentence, NoticeCode})
# What the processor, the C library and FFmpeg's assertions send to a process.
CRASHES: Final = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
CRASHED: Final = Sentence(
    "The file ended the process that read it. It is damaged in a way that cannot be "
    "handled: convert it to another format and send it again."
)
TOO_EXPENSIVE: Final = Sentence(
    "Decoding the file takes more processor time than {seconds:g} s and {rate:g} s "
    "for each minute of audio. Convert it to mono of 16 kHz and send it again."
)


class Decoder:
    """Hands files to decoder processes; any thread may do so."""

    def __init__(self) -> None:
        """Have no process yet."""
        self._lock = threading.Lock()
        self._idle: list[_Process] = []

    def warm_up(self) -> None:
        """Start a process, so that the first file need not wait for it."""
        self._put_back(_Process())

    def close(self) -> None:
        """End the processes that have nothing to do."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def decode(
        self,
        path: Path,
        destination: Path,
        *,
        max_seconds: float,
        choice: TrackChoice | None = None,
        limits: Limits,
        allowed: AllowedTypes = EVERY_TYPE,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> DecodedAudio:
        """Decode a file to samples; see `decode_to_samples`.

        Args:
            path: chosen by the server.
            destination: the samples file, created or overwritten; deleted on error.
            max_seconds: of audio.
            choice: the track that is wanted; None: the one that players take.
            limits: what it may cost.
            allowed: the types of content that are accepted.
            on_start: gets a function that ends the job at once, from any thread; then
                `DecoderLostError` is raised.

        Raises:
            MediaError: the file is at fault.
            NoRoomError: there is no room for its samples.
            DecoderLostError: the process was ended from outside, or did not start.
            OSError: the storage is at fault.
        """
        job = DecodeJob(path, destination, max_seconds, choice, limits, allowed)
        process = self._take()
        try:
            with process.stoppable() as stop:
                if on_start:
                    on_start(stop)
                answer = process.run(job)
        except BaseException:
            # What a process leaves behind that is killed.
            destination.unlink(missing_ok=True)
            raise
        if answer.goes_on:
            self._put_back(process)
        else:
            process.end()
        return _decoded(answer.outcome)

    def _take(self) -> _Process:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_running():
                    return process
                process.end()
        return _Process()

    def _put_back(self, process: _Process) -> None:
        with self._lock:
            self._idle.append(process)


class _Process:
    """One decoder process and the socket to it."""

    def __init__(self) -> None:
        ours, its = Pipe()
        with its:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, str(its.fileno())],
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )
        self._socket: Connection[Any, Any] = ours
        self._is_ready = False
        self._lock = threading.Lock()

    def is_running(self) -> bool:
        return self._popen.poll() is None

    @contextmanager
    def stoppable(self) -> Iterator[Callable[[], None]]:
        """Give a function that kills it during the block, and does nothing later."""
        running = threading.Event()
        running.set()

        def stop() -> None:
            with self._lock:
                if running.is_set():
                    self._popen.kill()

        try:
            yield stop
        finally:
            with self._lock:
                running.clear()

    def run(self, job: DecodeJob) -> Answer:
        """Have a job done.

        Raises:
            MediaError: the file ended the process.
            DecoderLostError: something else did.
        """
        try:
            self._wait_until_ready()
            self._socket.send_bytes(pickle.dumps(job))
            return _unpickled(self._socket.recv_bytes(MOST_ANSWER_BYTES))
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._explain_end(job.limits) from error

    def end(self) -> int:
        """End it if it runs; its exit status, negative for a signal."""
        self._popen.kill()
        status = self._popen.wait()
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        self._socket.close()
        return status

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        if (
            not self._socket.poll(START_SECONDS)
            or self._socket.recv_bytes(len(READY)) != READY
        ):
            raise EOFError
        self._is_ready = True

    def _explain_end(self, limits: Limits) -> errors.WhisperHubError:
        # Its socket may be closed some time before it has ended by itself.
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(END_SECONDS)
        code = self.end()
        logger.warning("A decoder process ended with %s", code)
        if -code == signal.SIGXCPU:
            return DecodingTooExpensiveError(
                Sentence(
                    TOO_EXPENSIVE.pattern,
                    seconds=limits.cpu_seconds,
                    rate=limits.cpu_seconds_per_minute,
                )
            )
        # An exit status of its own is an exception that it did not expect.
        if self._is_ready and (-code in CRASHES or code > 0):
            return InvalidMediaError(CRASHED)
        return DecoderLostError()


class _Answers(pickle.Unpickler):
    """Reads answers, and makes objects of no class that is not part of one.

    Who took over a decoder process could send anything.
    """

    def find_class(self, module: str, name: str) -> Any:
        for known in ANSWER_CLASSES:
            if (module, name) == (known.__module__, known.__qualname__):
                return known
        if ANSWER_MODULES.fullmatch(module):
            found = super().find_class(module, name)
            if isinstance(found, type) and is_dataclass(found):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an answer.")


def _unpickled(sent: bytes) -> Answer:
    answer: Answer = _Answers(io.BytesIO(sent)).load()
    return answer


def _environment() -> dict[str, str]:
    """What a process needs that must not know our secrets."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WHISPERHUB_")
    }


def _decoded(outcome: Outcome) -> DecodedAudio:
    if isinstance(outcome, Refusal):
        error: errors.WhisperHubError = getattr(errors, outcome.error)(outcome.message)
        raise error
    if isinstance(outcome, StorageFailure):
        raise OSError(outcome.errno, outcome.reason)
    return outcome
