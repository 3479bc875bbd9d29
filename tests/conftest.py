"""What every test may ask for, and what none may do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

import hypothesis
import pytest
from whitenoise.middleware import WhiteNoiseMiddleware

from tests.database_passes import may_use_database, runs_on_each
from tests.support.network import block_outside

# The files that take longest, longest first. `make test` hands files to workers: one
# that came late would leave the others idle at the end.
LONGEST: Final = (
    "tests/chaos/test_failure_matrix.py",
    "tests/e2e/test_fuzz.py",
    "tests/chaos/test_random_run.py",
    "tests/e2e/test_slots.py",
    "tests/e2e/test_stack.py",
    "tests/chaos/test_database_servers.py",
    "tests/integration/test_batched_engine.py",
    "tests/integration/test_openai_whisper.py",
    "tests/integration/test_deliverers.py",
    "tests/integration/test_decode_options.py",
    "tests/integration/test_services.py",
    "tests/integration/test_database_restart.py",
    "tests/integration/test_bootstrap.py",
    "tests/e2e/test_generated_client.py",
    "tests/integration/media/test_decode.py",
    "tests/integration/test_demo_model.py",
    "tests/integration/test_processes.py",
    "tests/integration/test_watchdog.py",
    "tests/integration/test_supervisor.py",
    "tests/integration/test_many_jobs.py",
    "tests/integration/test_fair_shares.py",
    "tests/integration/api/test_uploading.py",
    "tests/integration/test_fetching.py",
)

# A machine busy with other things is slow, which is no finding.
hypothesis.settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")

# It describes each step of each row, which pytest would keep for a failed test.
logging.getLogger("factory").setLevel(logging.WARNING)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; the others stay in their random order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a test that the passes on other databases would not find."""
    if runs_on_each(item) and not may_use_database(item.path):
        raise pytest.UsageError(
            f"{item.nodeid} uses the database by a fixture from elsewhere. "
            "Name one in this file: pytest.mark.django_db."
        )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests have measured, to be quoted."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session", autouse=True)
def no_outside_network() -> Iterator[None]:
    """No test reaches another machine."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        block_outside(monkeypatch)
        yield


@pytest.fixture(scope="session", autouse=True)
def static_files_read_once() -> Iterator[None]:
    """The folders of static files are searched once.

    A server does that when it starts. Each test has a client of its own, and each
    client a server, so that the search was half of what requests cost here.
    """
    search = WhiteNoiseMiddleware.add_files_from_finders
    found: dict[str, Any] = {}

    def search_once(middleware: Any) -> None:
        if not found:
            search(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", search_once)
        yield


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """What a process remembers between requests starts empty for each test."""
    from transcription.engines import registry
    from transcription.services.health import recent_readiness
    from transcription.work.publishing import breaker
    from whisperhub import edges, places, rates
    from whisperhub.web.request_id import current_request_id

    breaker.reset()
    edges.reset()
    recent_readiness.forget()
    rates.reset()
    places.reset()
    token = current_request_id.set("")
    yield
    current_request_id.reset(token)
    breaker.reset()
    registry._current = None
