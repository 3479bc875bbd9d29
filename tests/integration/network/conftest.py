"""Servers on loopback, and policies that let nobody else be reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.upstreams import Upstream, make_certificate, running_upstream
from whisperhub.network.deadline import Deadline


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1 and localhost."""
    folder = tmp_path_factory.mktemp("certificate")
    return make_certificate(folder, "localhost", "127.0.0.1")


@pytest.fixture
def deadline() -> Iterator[Deadline]:
    with Deadline(20) as deadline:
        yield deadline
