"""The process that opens and decodes the files of strangers, one after the other.

`Decoder` starts it with `python -m transcription.media.decoder_process <descriptor>`,
sends it jobs and reads their outcomes. It knows no database and no broker, so that a
file which breaks it, or meets one of its limits, harms nothing but its own job. When
its standard input ends, the process that started it is gone, and it ends as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import resource
import signal
import sys
import threading
from multiprocessing.connection import Connection

from transcription.audio import SAMPLE_BYTES, SAMPLE_RATE
from transcription.errors import InvalidMediaError, MediaError, NoRoomError
from transcription.media.decode import decode_to_samples
from transcription.media.decoder_messages import (
    READY,
    Answer,
    DecodeJob,
    Outcome,
    Refusal,
    StorageFailure,
)
from transcription.media.limits import (
    Limits,
    ProcessorTime,
    address_space_bytes,
    limit_memory,
    room_for,
)
from transcription.media.opening import TOO_MUCH_MEMORY

logger = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s"
# A process that keeps this part of what a job may take has less for the next one.
MOST_KEPT_SHARE = 0.25


def main() -> None:
    """Serve the process at the other end of a socket until it goes."""
    # Standard error goes where that of the worker goes.
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    # A terminal's Ctrl-C and a supervisor's stop reach the whole group. The job goes on
    # for as long as the worker waits for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start_bytes = address_space_bytes()
    with Connection(int(sys.argv[1])) as connection:
        connection.send_bytes(READY)
        # The worker may go before it has read what was sent to it.
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                job: DecodeJob = pickle.loads(connection.recv_bytes())  # noqa: S301
                outcome = decode(job)
                answer = Answer(outcome, _is_fit(job.limits, outcome, start_bytes))
                connection.send_bytes(pickle.dumps(answer))
                if not answer.goes_on:
                    return


def decode(job: DecodeJob) -> Outcome:
    """Do one job within its limits."""
    limit_memory(job.limits.memory_bytes)
    processor_time = ProcessorTime(job.limits)
    try:
        room = room_for(job.destination, job.limits)

        def look(seconds: float) -> None:
            processor_time.allow(seconds)
            room.check(round(seconds * SAMPLE_RATE) * SAMPLE_BYTES)

        return decode_to_samples(
            job.path,
            job.destination,
            max_seconds=job.max_seconds,
            choice=job.choice,
            allowed=job.allowed,
            on_progress=look,
        )
    except (MediaError, NoRoomError) as error:
        if error.__cause__ is not None:
            logger.info("%s: %s", type(error).__name__, error.__cause__)
        return Refusal(type(error).__name__, error.message)
    except MemoryError:
        return Refusal(InvalidMediaError.__name__, TOO_MUCH_MEMORY)
    except OSError as error:
        return StorageFailure(error.errno or 0, error.strerror or "")
    finally:
        limit_memory(0)


def _is_fit(limits: Limits, outcome: Outcome, start_bytes: int) -> bool:
    """Whether this process may take another job.

    One that met its memory limit is not trusted: code that found no memory may have
    left anything behind.
    """
    if isinstance(outcome, Refusal) and outcome.message == TOO_MUCH_MEMORY:
        return False
    kept = address_space_bytes() - start_bytes
    return not limits.memory_bytes or kept < limits.memory_bytes * MOST_KEPT_SHARE


def _end_with_parent() -> None:
    """Wait for the end of standard input: nobody waits for an outcome any more."""
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    os._exit(0)


if __name__ == "__main__":
    main()
