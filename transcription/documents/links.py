"""Addresses in documents.

They are put together here and not looked up in the URL configuration: looking them up
loads every view of the API, also in the process that sends callbacks. A test compares
them with the URL configuration.
"""

from __future__ import annotations

import uuid
from typing import Final

TASKS: Final = "/api/v1/tasks/"
CALLBACKS: Final = "/api/v1/callbacks/"


def task_links(public_id: uuid.UUID, *, site: str) -> dict[str, str]:
    """Addresses that belong to a task.

    Args:
        public_id: of the task.
        site: what stands before the path, such as `https://speech.example.org`, without
            a slash at its end; empty: the addresses are paths.
    """
    own = f"{site}{TASKS}{public_id}/"
    return {"self": own, "result": f"{own}result/", "subtitles": f"{own}subtitles/"}


def callback_links(public_id: uuid.UUID, *, site: str) -> dict[str, str]:
    """Addresses that belong to a callback; `site` as for `task_links`."""
    own = f"{site}{CALLBACKS}{public_id}/"
    return {"self": own, "replay": f"{own}replay/"}
