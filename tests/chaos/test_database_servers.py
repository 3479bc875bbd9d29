"""A database server that restarts under a whole service costs no attempt of any job.

These start servers of their own and use no other database, so they run in one pass.
"""

from __future__ import annotations

import pytest

from tests.chaos import moves
from tests.chaos.checks import check_done
from tests.chaos.service import Service
from tests.support.recordings import RECORDINGS
from tests.support.servers import running_server
from tests.support.waiting import wait_for
from tools import services
from transcription.models import TranscriptionTask

pytestmark = pytest.mark.e2e

SPEECH = RECORDINGS["en"].path.read_bytes()
Status = TranscriptionTask.Status


@pytest.mark.parametrize("kind", sorted(services.KINDS))
def test_jobs_outlive_the_restart_of_their_database(kind, tmp_path, django_db_blocker):
    alias = f"chaos-{kind}"
    with (
        django_db_blocker.unblock(),
        running_server(kind) as server,
        Service(
            tmp_path, database_url=server.url, database=alias, plan="one=cpu=demo"
        ) as service,
    ):
        moves.write_down(alias)

        # In the middle of a job.
        with service.held():
            job = service.submit(SPEECH)
            service.wait_for_status([job], Status.PROCESSING)
            restart_when_missed(service, server, "The beat of leases failed")
        check_done(service, [job])

        # When a job is about to be claimed.
        with service.frozen("one"):
            job = service.submit(SPEECH)
            service.wait_for_status([job], Status.QUEUED)
            # Its hint is on its way, so that the slot will look for it.
            wait_for(
                lambda: service.task(job).dispatched_at is not None,
                named=service.said,
            )
            server.kill()
        restart_when_missed(service, server, "Database away", is_down=True)
        check_done(service, [job])

        assert not moves.doubled(alias)


def restart_when_missed(
    service: Service, server: services.Server, words: str, *, is_down: bool = False
) -> None:
    """Stop the server and start it again when a process of the service noticed."""
    before = service.lines_with(words)
    if not is_down:
        server.stop()
    wait_for(
        lambda: service.lines_with(words) != before, seconds=30, named=service.said
    )
    assert service.post(SPEECH).status_code == 503
    server.start()
    service.reconnect()
