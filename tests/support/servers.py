"""Database servers of a test's own, which it may stop and kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tools import services


@contextmanager
def running_server(kind: str) -> Iterator[services.Server]:
    """Have a server of a kind; without its programs CI fails, and others skip."""
    try:
        server = services.KINDS[kind].make()
    except services.ServiceError as error:
        if services.is_ci():
            raise
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.discard()
