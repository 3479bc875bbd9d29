"""The web process as operators run it, on the test database."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests
from django.conf import settings
from django.db import connection

from tests.support.fleet import START_SECONDS, Worker
from tests.support.waiting import patient, wait_for
from workers.stack import free_port


@contextmanager
def running_web(
    media_root: Path,
    broker_url: str = "",
    *,
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[str]:
    """Run it for the length of the block; gives its address.

    Args:
        media_root: where its uploads go.
        broker_url: of its broker; empty: that of the settings.
        variables: more of its settings, as WHISPERHUB_ variables.
        log: what it says goes there.
    """
    address = f"http://127.0.0.1:{free_port()}"
    web = Worker(
        [
            *("-m", "uvicorn", "whisperhub.asgi:application", "--no-access-log"),
            *("--http", "whisperhub.web.protocol:LimitedHttpProtocol"),
            *("--port", address.rpartition(":")[2], "--lifespan", "off"),
            *("--ws", "none"),
        ],
        {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.support.process_settings",
            "PYTHONWARNINGS": "default",
            "TESTS_DATABASE_NAME": str(connection.settings_dict["NAME"]),
            "WHISPERHUB_MEDIA_DIR": str(media_root),
            "WHISPERHUB_BROKER_URL": broker_url or settings.BROKER_URL,
            **(variables or {}),
        },
        log or Path(settings.DATA_DIR) / "web.log",
    )

    def answers() -> bool:
        assert web.is_running(), web.said()
        try:
            return requests.get(f"{address}/healthz", timeout=patient(5)).ok
        except requests.ConnectionError:
            return False

    try:
        wait_for(answers, seconds=START_SECONDS, named=web.said)
        yield address
    finally:
        web.stop()
