"""A server that restarts in mid-job costs nothing; nor does one that is slow to return.

These start servers of their own and use no other database, so they run in one pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.servers import running_server
from tests.support.waiting import patient
from tools import services


@pytest.fixture(scope="module", params=sorted(services.KINDS))
def server(request):
    """A private server that may be stopped."""
    with running_server(request.param) as server:
        yield server


def start_job(server: Any, *arguments: Any) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.survivor", *map(str, arguments)],
        env={**os.environ, "WHISPERHUB_DATABASE_URL": server.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop(server: Any, way: str) -> None:
    if way == "killed":
        server.kill()
    else:
        server.stop()


def go_on_until(job: Any, words: str) -> None:
    """Let a job go on from its middle, and wait until it says these words."""
    job.stdin.write("go on\n")
    job.stdin.flush()
    while words not in job.stderr.readline():
        assert job.poll() is None


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_a_job_survives_the_restart_of_its_server(server, way, tmp_path):
    with start_job(server, tmp_path) as job:
        try:
            assert job.stdout.readline() == "running\n", job.communicate()[1]

            stop(server, way)
            # The job finds nobody there before somebody is there again.
            go_on_until(job, "Database away")
            server.start()

            said, errors = job.communicate(timeout=patient(60))
        finally:
            job.kill()

    assert said == "completed completed 1 0 1\n", errors


def test_a_result_outlives_its_worker_while_the_server_is_away(server, tmp_path):
    with start_job(server, tmp_path) as job:
        try:
            assert job.stdout.readline() == "running\n", job.communicate()[1]
            server.stop()
            go_on_until(job, "result kept")
        finally:
            job.kill()
    server.start()

    with start_job(server, "again", tmp_path) as heir:
        said, errors = heir.communicate(timeout=patient(60))

    # The lost worker costs no attempt, and nothing is decoded a second time.
    assert said == "completed completed 1 1 1\n", errors
    assert not list(tmp_path.rglob("result*"))
