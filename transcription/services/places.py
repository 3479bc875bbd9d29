"""Places of media work: no owner holds all places of a machine.

A place is a child of the media worker. Fetching from a slow server keeps one for half
an hour. So the pool has one child more than `MEDIA_WORKERS`, and an owner whose tasks
hold that many on a machine gets no further one there: the last one is for others.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db.models.functions import Now

from transcription.database import despite_outages
from transcription.models import TranscriptionTask


@contextmanager
def choosing() -> Iterator[None]:
    """Be the only process of this machine that takes a place, inside the block.

    Two that count at once would both find the last place free.
    """
    settings.RUN_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(
        settings.RUN_DIR / "places.lock", os.O_RDWR | os.O_CREAT, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@despite_outages
def owner_at_limit(worker: str) -> int | None:
    """The owner who may get no further place on a worker's machine now.

    There is one at most: of the places of a machine only one is not enough to be at
    the limit.

    Args:
        worker: the name of a process of that machine, `media@<host>/<process id>`.
    """
    machine = worker.rpartition("/")[0] + "/"
    # Without the status in the WHERE: by it a database would look through all tasks
    # that wait, and by the lease through those that run.
    held = TranscriptionTask.objects.filter(lease_expires_at__gt=Now()).values_list(
        "owner_id", "lease_owner", "status"
    )
    counts = Counter(
        owner_id
        for owner_id, lease_owner, status in held
        if status == TranscriptionTask.Status.PREPARING
        and lease_owner.startswith(machine)
    )
    for owner_id, count in counts.most_common(1):
        if count >= settings.MEDIA_WORKERS:
            return owner_id
    return None
