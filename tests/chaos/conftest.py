"""What the chaos tests measured is printed at the end of the run, to be quoted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.waiting import patient

measured: list[str] = []


@pytest.fixture
def record() -> Callable[..., None]:
    """Note how long something took, beside how long it may take on a quiet machine."""

    def note(what: str, seconds: float, *, at_most: float) -> None:
        measured.append(f"{what}: {seconds:.1f} s (at most {at_most:g} s)")
        assert seconds <= patient(at_most), measured[-1]

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was noted."""
    for line in measured:
        terminalreporter.write_line(f"chaos: {line}")
