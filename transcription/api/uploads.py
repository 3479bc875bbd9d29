"""What happens to the bytes of an upload while they come in."""

from __future__ import annotations

import hashlib
from typing import Any

from django.core.files.uploadhandler import TemporaryFileUploadHandler

IDEMPOTENCY_KEY = "Idempotency-Key"
IN_ENVIRONMENT = "HTTP_IDEMPOTENCY_KEY"


class DigestingUploadHandler(TemporaryFileUploadHandler):
    """Keeps an upload in a file, and takes its digest where a request wants one.

    The digest costs little while the bytes pass by; reading gigabytes again would cost
    a request its answer. The file has it as `sha256`.
    """

    # Sixteen times Django's: each piece of a form costs it as much as this many bytes.
    chunk_size = 2**20
    _wanted = False

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803  (Django's name for it)
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Look whether the request has a key."""
        self._wanted = IN_ENVIRONMENT in META

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file."""
        super().new_file(*args, **kwargs)
        self._digest = hashlib.sha256()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Store bytes."""
        if self._wanted:
            self._digest.update(raw_data)
        super().receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> Any:
        """The file, with its digest."""
        file = super().file_complete(file_size)
        if self._wanted:
            file.sha256 = self._digest.hexdigest()  # type: ignore[union-attr]
        return file
