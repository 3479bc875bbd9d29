"""How a child process tells its supervisor that it is ready: it makes a file.

The supervisor names the file in a variable of the child's environment and waits for it.
A Celery worker announces itself when this module is among its `--include`s; other
processes call `announce_ready`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from celery.signals import worker_ready

# Between two of our own processes, and so no setting of whisperhub/env.py. It does not
# reach grandchildren: a supervisor takes it out of what its children inherit.
READY_VARIABLE: Final = "WHISPERHUB_READY_FILE"


def announce_ready() -> None:
    """Tell the supervisor, if there is one, that this process does its work now."""
    name = os.environ.get(READY_VARIABLE)
    if name:
        Path(name).touch()


@worker_ready.connect
def announce_worker(**_: Any) -> None:
    """Announce a Celery worker that consumes its queues."""
    announce_ready()
