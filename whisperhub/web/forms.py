"""A form taken in as its bytes come: its file goes to the media volume, once.

Left to itself Django stores the whole body first, in the event loop, and then cuts the
file out of it in the thread of the view. Here no thread waits for a client: one is
borrowed for as long as a block is written.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.http import parse_header_parameters
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from multipart import MultipartError, MultipartSegment, PushMultipartParser

logger = logging.getLogger(__name__)

# Where a request finds its form in the ASGI scope.
SCOPE_KEY: Final = "whisperhub.form"
# Many enough to use a disk, few enough to leave the processor to requests.
WRITERS: Final = ThreadPoolExecutor(4, thread_name_prefix="upload")
# Each upload that comes in holds up to so much in memory.
BLOCK_BYTES: Final = 128 * 2**10
# When a client may try again that found no memory for its body.
BUSY_SECONDS: Final = 5
# Below this a file is not refused for want of space; see `uploads.SMALL_FORM_BYTES`.
UNCHECKED_BYTES: Final = 2**20
# What may stand beside "form-data" is read as the bytes that it is.
PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})


class RefusedError(Exception):
    """A body that is not taken.

    Attributes:
        status: of the answer.
        code: stable, for programs.
        detail: a sentence for people, perhaps not translated yet.
        retry_seconds: after which it may be taken; None: it will not.
    """

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: Any,
        *,
        retry_seconds: int | None = None,
    ) -> None:
        """Say why."""
        super().__init__(code)
        self.status, self.code, self.detail = status, code, detail
        self.retry_seconds = retry_seconds


def storage_full() -> RefusedError:
    """The media volume cannot take the file."""
    return RefusedError(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "storage_full",
        _("The server has no room for this upload. Try again later."),
    )


def request_too_large() -> RefusedError:
    """A body without a file, or what stands beside a file, is too long."""
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "request_too_large",
        _("The request is too long. Only a file in a form may be large."),
    )


def no_memory() -> RefusedError:
    """Other bodies take all the memory that there is for bodies."""
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "server_busy",
        format_lazy(
            _(
                "The server is receiving too many large requests. Send this one again "
                "in {seconds} seconds."
            ),
            seconds=BUSY_SECONDS,
        ),
        retry_seconds=BUSY_SECONDS,
    )


def malformed() -> RefusedError:
    """The body is no form."""
    return RefusedError(
        HTTPStatus.BAD_REQUEST,
        "parse_error",
        _("The form cannot be read: it is malformed or incomplete."),
    )


@dataclass(frozen=True)
class Form:
    """What a form holds; its file is a temporary one, with its digest as `sha256`."""

    fields: QueryDict
    files: MultiValueDict[str, UploadedFile[Any]]

    def discard(self) -> None:
        """Delete the files."""
        for name in self.files:
            for file in self.files.getlist(name):
                file.close()


class FormRequest(ASGIRequest):
    """A request whose form was read before Django."""

    def __init__(self, scope: Any, body_file: Any) -> None:
        """Take the form from the scope, if it has one."""
        super().__init__(scope, body_file)
        form: Form | None = scope.get(SCOPE_KEY)
        if form is not None:
            # As if a view had asked for it: the body can no longer be read.
            self._read_started = True
            self._post, self._files = form.fields, form.files


class FileSink:
    """A file of a form on its way to the disk; each call runs in a thread."""

    def __init__(self, name: str, content_type: str, *, min_free_bytes: int) -> None:
        """Know its name; nothing is written yet."""
        self._name, self._content_type = name, content_type
        self._min_free_bytes = min_free_bytes
        self._digest = hashlib.sha256()
        self._size = 0
        self._file: TemporaryUploadedFile | None = None

    def write(self, block: bytes | bytearray) -> None:
        """Add a block.

        Raises:
            RefusedError: the volume is full, or nearly so.
        """
        try:
            # Before each block: of several uploads each has seen the same free space
            # when it began.
            if self._size + len(
                block
            ) > UNCHECKED_BYTES and free_bytes() < self._min_free_bytes + len(block):
                raise storage_full()
            self._opened().write(block)
            self._size += len(block)
        except OSError as error:
            logger.warning("An upload could not be stored: %s", error.strerror)
            raise storage_full() from error
        self._digest.update(block)

    def finish(self, rest: bytes | bytearray) -> TemporaryUploadedFile:
        """Add the last block, and give the file.

        Raises:
            RefusedError: the volume is full, or nearly so.
        """
        self.write(rest)
        file = self._opened()
        file.size = self._size
        file.seek(0)
        file.sha256 = self._digest.hexdigest()  # type: ignore[attr-defined]
        return file

    def discard(self) -> None:
        """Delete what was written."""
        if self._file is not None:
            self._file.close()

    def _opened(self) -> TemporaryUploadedFile:
        if self._file is None:
            self._file = TemporaryUploadedFile(self._name, self._content_type, 0, None)
        return self._file


class BodyMemory:
    """The memory that the bodies of one process may take at a time.

    What a client sends counts from when it is expected until its request is answered.

    Args:
        max_bytes: of all bodies, beyond the first `UNCOUNTED_BYTES` of each, so that
            small requests, such as a cancellation, are always taken.
    """

    UNCOUNTED_BYTES: Final = 16 * 2**10

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """The memory of one request; gives a function that asks for more bytes.

        That function raises RefusedError if there are none.
        """
        asked, counted = 0, 0

        def take(more_bytes: int) -> None:
            nonlocal asked, counted
            asked += more_bytes
            uncounted = max(0, asked - self.UNCOUNTED_BYTES) - counted
            if self._used_bytes + uncounted > self._max_bytes:
                raise no_memory()
            counted += uncounted
            self._used_bytes += uncounted

        try:
            yield take
        finally:
            self._used_bytes -= counted


class FormReader:
    """Makes a form of the blocks of a body.

    Args:
        content_type: the header's value.
        max_fields_bytes: of all names and values beside the file.
        min_free_bytes: what must stay free on the media volume.
        take_memory: asks for so many bytes more, for the fields.

    Raises:
        RefusedError: the header names no boundary.
    """

    def __init__(
        self,
        content_type: str,
        *,
        max_fields_bytes: int,
        min_free_bytes: int,
        take_memory: Callable[[int], None],
    ) -> None:
        _kind, parameters = parse_header_parameters(content_type)
        try:
            self._parser = PushMultipartParser(
                parameters.get("boundary", ""),
                # Bytes as they are: names are UTF-8, or something else that is no
                # reason to refuse a file.
                header_charset="latin-1",
            )
        except (MultipartError, UnicodeError) as error:
            raise malformed() from error
        self._max_fields_bytes = max_fields_bytes
        self._min_free_bytes = min_free_bytes
        self._take_memory = take_memory
        self._fields = QueryDict(mutable=True)
        self._fields_bytes = 0
        self._parts = 0
        self._files: MultiValueDict[str, UploadedFile[Any]] = MultiValueDict()
        # The part that is being read: its name, and what of it was not stored yet.
        self._name = ""
        self._pending = bytearray()
        self._sink: FileSink | None = None
        self._is_field = False

    async def feed(self, block: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            RefusedError: they belong to no form that is taken.
        """
        try:
            for event in self._parser.parse(block):
                if isinstance(event, MultipartSegment):
                    self._begin_part(event)
                elif event is None:
                    await self._end_part()
                elif self._sink is not None:
                    self._pending += event
                    await self._store_full_block()
                elif self._is_field:
                    self._count(len(event))
                    self._pending += event
        except MultipartError as error:
            raise malformed() from error

    def finish(self) -> Form:
        """The form, when the body has ended.

        Raises:
            RefusedError: it is not complete.
        """
        try:
            self._parser.close()
        except MultipartError as error:
            raise malformed() from error
        self._fields._mutable = False
        return Form(self._fields, self._files)

    def discard(self) -> None:
        """Delete what was stored."""
        if self._sink is not None:
            self._sink.discard()
        Form(self._fields, self._files).discard()

    def _begin_part(self, part: MultipartSegment) -> None:
        headers = dict(part.headerlist)
        encoding = headers.get("Content-Transfer-Encoding", "").strip().lower()
        if encoding not in PLAIN_ENCODINGS:
            raise malformed()
        self._parts += 1
        most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS or 0
        if self._parts > most:
            raise _bad_request(
                format_lazy(
                    _(
                        "The request has more than {count} fields, or entries of "
                        "lists. Send only what the operation has."
                    ),
                    count=most,
                )
            )
        parameters = _parameters(headers["Content-Disposition"])
        self._name = parameters.get("name", "")
        self._count(len(self._name))
        self._is_field = "filename" not in parameters
        # A file without a name is a field of a page where nothing was chosen.
        if name := base_name(parameters.get("filename", "")):
            if self._files:
                raise _bad_request(_("Send one file in a request."))
            self._sink = FileSink(
                name,
                headers.get("Content-Type", ""),
                min_free_bytes=self._min_free_bytes,
            )

    async def _end_part(self) -> None:
        if self._sink is not None:
            file = await _in_thread(self._sink.finish, self._pending)
            self._files.appendlist(self._name, file)
        elif self._is_field:
            value = self._pending.decode(errors="replace")
            self._fields.appendlist(self._name, value)
        self._pending = bytearray()
        self._sink = None

    async def _store_full_block(self) -> None:
        if self._sink is None or len(self._pending) < BLOCK_BYTES:
            return
        block, self._pending = self._pending, bytearray()
        await _in_thread(self._sink.write, block)

    def _count(self, size_bytes: int) -> None:
        self._fields_bytes += size_bytes
        if self._fields_bytes > self._max_fields_bytes:
            raise request_too_large()
        self._take_memory(size_bytes)


def free_bytes() -> int:
    """Free space on the volume that takes the files of forms."""
    return shutil.disk_usage(Path(str(settings.FILE_UPLOAD_TEMP_DIR))).free


def base_name(name: str) -> str:
    """The last part of a file's name; empty if there is none that a file may have."""
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(letter for letter in last if letter.isprintable())
    return "" if shown in {".", ".."} else shown


def _parameters(header: str) -> dict[str, str]:
    # `parse_header_parameters` knows `filename*`, which the parser of parts does not.
    text = header.encode("latin-1").decode(errors="replace")
    try:
        return parse_header_parameters(text)[1]
    except ValueError as error:
        raise malformed() from error


def _bad_request(detail: Any) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, "bad_request", detail)


async def _in_thread(call: Any, *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(WRITERS, call, *arguments)
