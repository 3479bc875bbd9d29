"""A server that restarts in mid-job costs nothing; nor does one that is slow to return.

These start servers of their own and use no other database, so they run in one pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tools import services


@pytest.fixture(scope="module", params=sorted(services.KINDS))
def server(request):
    """A private server that may be stopped."""
    try:
        server = services.KINDS[request.param].make()
    except services.ServiceError as error:
        if services.is_ci():
            raise
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.discard()


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_a_job_survives_the_restart_of_its_server(server, way):
    job: Any = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.survivor"],
        env={**os.environ, "WHISPERHUB_DATABASE_URL": server.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with job:
        try:
            assert job.stdout.readline() == "running\n", job.communicate()[1]

            if way == "killed":
                server.kill()
            else:
                server.stop()
            job.stdin.write("go on\n")
            job.stdin.flush()
            # The job finds nobody there before somebody is there again.
            while "Database away" not in job.stderr.readline():
                assert job.poll() is None
            server.start()

            said, errors = job.communicate(timeout=60)
        finally:
            job.kill()

    assert said == "completed completed 1 0 1\n", errors
