"""Looking at processes, and the environment of a program that tests start."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from tests.support.waiting import wait_for

# Names the folder of models that all processes of a run of the tests share.
MODELS_VARIABLE = "TESTS_MODEL_DIR"
# For stacks in which nothing depends on there being several: each is one more to start.
ONE_OF_EACH = {"WHISPERHUB_WEB_PROCESSES": "1", "WHISPERHUB_MEDIA_WORKERS": "1"}


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie nobody has collected yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_pid(path: Path) -> int:
    """Wait for a file that holds a process id, and return that."""

    def is_written() -> bool:
        return path.exists() and path.read_text(encoding="ascii").endswith("\n")

    wait_for(is_written)
    return int(path.read_text(encoding="ascii"))


def shared_models() -> dict[str, str]:
    """The variable that has a process find the models of the run, if there is one."""
    folder = os.environ.get(MODELS_VARIABLE)
    return {"WHISPERHUB_MODEL_DIR": folder} if folder else {}


def operators_environment(**variables: str) -> dict[str, str]:
    """The environment of somebody who set these variables and runs no tests."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WHISPERHUB_") and name != "DJANGO_SETTINGS_MODULE"
    }
    return {**ours, **shared_models(), **variables}


def join_service(data_dir: Path, database_url: str = "", **variables: str) -> None:
    """Make this process one of a service's: same database, broker and media.

    For programs; pytest has its own settings.

    Args:
        data_dir: of the service.
        database_url: likewise; empty: SQLite in that folder.
        variables: more of its settings.
    """
    for name in list(os.environ):
        # The developer's own service is left alone.
        if name.startswith("WHISPERHUB_"):
            del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "whisperhub.settings",
        "WHISPERHUB_DATA_DIR": str(data_dir),
        "WHISPERHUB_DATABASE_URL": database_url,
        "WHISPERHUB_LOG_LEVEL": "CRITICAL",
        "WHISPERHUB_LOG_TO_FILE": "false",
        # As the launcher has it for slots on the CPU.
        "OMP_WAIT_POLICY": "PASSIVE",
        **shared_models(),
        **variables,
    }
    import django

    django.setup()
