"""Private database servers: they answer, and nothing of them stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.waiting import patient, wait_for
from tools import services

SHOW = (
    "import os; print(os.environ['WHISPERHUB_TEST_{}_URL']); import sys; "
    "sys.stdout.flush(); sys.stdin.readline()"
)


@pytest.fixture(params=sorted(services.KINDS))
def kind(request) -> str:
    try:
        services.KINDS[request.param].make().discard()
    except services.ServiceError as error:
        if services.is_ci():
            raise
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, open to a server's user."""
    folder = Path("/tmp") / f"wh-{os.getpid()}"
    folder.mkdir()
    # Whatever the umask of a service's settings.
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def running(kind, temporary):
    """The command with a server of one kind, waiting for a line."""
    process: Any = subprocess.Popen(
        [
            *(sys.executable, "-m", "tools.services", "run", "--only", kind, "--"),
            *(sys.executable, "-c", SHOW.format(kind.upper())),
        ],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("WHISPERHUB_")},
            "TMPDIR": str(temporary),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            # Nothing at all, if it ended instead.
            assert "://" in process.stdout.readline()
            yield process
        finally:
            process.kill()


def servers_below(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words):
            found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def test_a_command_has_a_server_and_leaves_none(running, temporary):
    assert servers_below(temporary)

    running.communicate("done\n", timeout=patient(60))

    assert running.returncode == 0
    assert not servers_below(temporary)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_no_server(running, temporary, number):
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux ends children with their parent")
    assert servers_below(temporary)

    running.send_signal(number)

    wait_for(lambda: not servers_below(temporary), seconds=30)


def test_packages_start_nothing_while_they_are_installed(tmp_path):
    policy = tmp_path / "policy-rc.d"

    with services.services_do_not_start(policy):
        asked = subprocess.run([policy, "postgresql", "start"], check=False)

    assert asked.returncode == 101  # "action forbidden by policy"
    assert not policy.exists()
