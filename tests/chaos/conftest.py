"""What the chaos tests measured is printed at the end of the run, to be quoted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.waiting import patient


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Note how long something took, beside how long it may take on a quiet machine."""

    def note(what: str, seconds: float, *, at_most: float) -> None:
        measured = f"{what}: {seconds:.1f} s (at most {at_most:g} s)"
        record_property("chaos", measured)
        assert seconds <= patient(at_most), measured

    return note
