"""The OpenAPI document, written once for each language and format.

To generate it takes a quarter of a second, and strangers may ask for it. It depends on
nothing but the code, the settings, the language and the format, so a process keeps what
it has written.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.utils.translation import override
from drf_spectacular.generators import SchemaGenerator


@dataclass(frozen=True)
class Document:
    """One language and format of it."""

    body: bytes

    @cached_property
    def etag(self) -> str:
        """Weak, because the compressed form has the same."""
        return f'W/"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes:
        """The body for clients that take gzip."""
        return gzip.compress(self.body, mtime=0)


class Documents:
    """The documents that this process has written."""

    def __init__(self) -> None:
        """Write nothing yet."""
        self._lock = threading.Lock()
        self._written: dict[tuple[str, type[Any]], Document] = {}

    def get(self, language: str, renderer: Any) -> Document:
        """The document; of several requests at once the first writes it.

        Args:
            language: one of ours.
            renderer: of DRF, for a format of OpenAPI documents.
        """
        key = (language, type(renderer))
        found = self._written.get(key)
        if found is None:
            with self._lock:
                found = self._written.get(key)
                if found is None:
                    found = self._written[key] = self._write(language, renderer)
        return found

    def forget(self) -> None:
        """Write them again when they are asked for."""
        with self._lock:
            self._written.clear()

    @staticmethod
    def _write(language: str, renderer: Any) -> Document:
        with override(language):
            schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
            written = renderer.render(schema, renderer.media_type, {})
        document = Document(written.encode() if isinstance(written, str) else written)
        # Here, where others wait for it, and not in each of their threads.
        _ = document.etag, document.compressed
        return document


documents = Documents()
