"""The file of a link comes to our storage (media workers)."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import BinaryIO, Final

from django.conf import settings

from transcription import storage
from transcription.errors import FetchError, LinkIsPageError
from transcription.media.recognition import HEAD_BYTES, is_web_page
from transcription.models import TranscriptionTask
from transcription.services.file_names import clean_file_name
from transcription.services.progress import ProgressWriter
from transcription.services.retry_schedule import retry_after_seconds
from transcription.services.transitions import recording
from transcription.storage import original_of
from transcription.work.heartbeat import HeldLease
from whisperhub.network.deadline import Deadline
from whisperhub.network.downloads import Download, DownloadError, download
from whisperhub.network.egress import configured_policy

# A server that asks for more patience is asked again after this time.
LONGEST_WAIT_SECONDS: Final = 3600.0
KINDS: Final[list[type[FetchError]]] = [FetchError, *FetchError.__subclasses__()]
ERRORS: Final = {kind.code: kind for kind in KINDS}


class DigestingFile:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin with an empty file."""
        self._file = file
        self._digest = hashlib.sha256()
        self.head = b""

    @property
    def sha256(self) -> str:
        """Of everything so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, block: bytes) -> None:
        """Add some bytes."""
        if len(self.head) < HEAD_BYTES:
            self.head += block[:HEAD_BYTES]
        self._file.write(block)
        self._digest.update(block)


class FetchReporter:
    """What a download tells while it runs: to the row, and to itself when to stop."""

    def __init__(self, held: HeldLease) -> None:
        """Report for the task of a lease."""
        self._held = held
        self._progress = ProgressWriter(at_once=True)

    def __call__(self, received: int, expected: int | None) -> None:
        """Note how many bytes there are.

        Raises:
            TaskCancelledError: the client withdrew the task.
            LeaseLostError: another process owns it.
            OSError: the volume is nearly full.
        """
        self._held.check()
        check_room((expected or received) - received)
        share = received / expected if expected else 0.0
        self._progress.write(
            lambda: recording.record_fetch(self._held.lease, share, size_bytes=received)
        )


def check_room(size_bytes: int) -> None:
    """See that the media volume keeps its reserve when so many bytes come.

    Raises:
        OSError: it does not.
    """
    if storage.current().free_bytes() - size_bytes < settings.MIN_FREE_BYTES:
        raise OSError(errno.ENOSPC, "The media volume is nearly full")


def fetch(task: TranscriptionTask, held: HeldLease) -> None:
    """Have the file of a task's link as its original.

    An attempt before may have fetched it whole; else it is fetched from its start.

    Raises:
        FetchError: it did not come, and whether another attempt may help.
        TaskCancelledError: the client withdrew the task.
        LeaseLostError: another process owns it.
        OSError: it could not be stored.
    """
    files, original = storage.current(), original_of(task.public_id)
    if files.exists(original):
        return
    check_room(0)
    with files.scratch(original) as path:
        done, digesting = _download(task, path, held)
        if is_web_page(digesting.head):
            raise LinkIsPageError
        task.media_sha256 = digesting.sha256
        # What is known of the file is noted before it counts: a worker that is killed
        # between the two fetches it once more.
        held.apply(
            recording.record_fetch,
            1.0,
            size_bytes=done.size_bytes,
            file_name=clean_file_name(done.name),
            sha256=task.media_sha256,
        )
        files.keep(original, path)


def _download(
    task: TranscriptionTask, path: Path, held: HeldLease
) -> tuple[Download, DigestingFile]:
    """Write what a task's link gives to a file; see `fetch` for what it raises."""
    try:
        with Deadline(settings.LINK_SECONDS) as deadline, path.open("wb") as file:
            held.on_stop(deadline.cut)
            digesting = DigestingFile(file)
            done = download(
                task.file_url,
                digesting,
                policy=configured_policy(),
                deadline=deadline,
                max_bytes=settings.MAX_LINK_BYTES,
                min_bytes_per_second=settings.LINK_MIN_BYTES_PER_SECOND,
                on_bytes=FetchReporter(held),
            )
    except DownloadError as error:
        # Who stops the job cuts the download.
        held.check()
        wait = min(retry_after_seconds(error.retry_after), LONGEST_WAIT_SECONDS)
        raise ERRORS[error.code](error.http_status, retry_after_seconds=wait) from error
    return done, digesting
