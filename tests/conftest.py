"""What every test may ask for, and what none may do."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from tests.network import block_outside

# A machine busy with other things is slow, which is no finding.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def no_outside_network() -> Iterator[None]:
    """No test reaches another machine."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        block_outside(monkeypatch)
        yield


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """What a process remembers between requests starts empty for each test."""
    from transcription.engines import registry
    from transcription.services.publishing import breaker
    from whisperhub import edges, rates
    from whisperhub.request_id import current_request_id

    breaker.reset()
    edges.reset()
    rates.reset()
    token = current_request_id.set("")
    yield
    current_request_id.reset(token)
    breaker.reset()
    registry._current = None
