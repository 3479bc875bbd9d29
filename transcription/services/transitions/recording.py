"""A worker notes how far the task that it holds is, without moving it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now

from transcription.database import despite_conflicts
from transcription.models import TranscriptPart
from transcription.services.storable import storable
from transcription.work.kinds import Lease

if TYPE_CHECKING:
    # At run time these would bring numpy into the web process.
    from transcription.engines.base import Segment


@despite_conflicts
def record_progress(
    lease: Lease, share: float, *, part: int = 0, segments: Sequence[Segment] = ()
) -> None:
    """Note how much of the media is done, and what was heard in it.

    Args:
        lease: the right to write.
        share: 0 to 1.
        part: how many times segments were noted before, in this attempt.
        segments: those that have become final since then, in order.

    Raises:
        LeaseLostError: the lease is no longer ours; nothing was written.
    """
    with transaction.atomic():
        lease.write(progress=min(max(share, 0.0), 1.0), progress_at=Now())
        if not segments:
            return
        if part == 0:
            # What an earlier attempt had heard.
            TranscriptPart.objects.filter(task_id=lease.row_id).delete()
        TranscriptPart.objects.update_or_create(
            task_id=lease.row_id,
            number=part,
            defaults={
                "segments": storable([segment.as_dict() for segment in segments])
            },
        )


@despite_conflicts
def record_fetch(
    lease: Lease,
    share: float,
    *,
    size_bytes: int,
    file_name: str = "",
    sha256: str = "",
) -> None:
    """Note how much of a link's file has come.

    Args:
        lease: the right to write.
        share: 0 to 1; 0 as long as the length is not known.
        size_bytes: that have come.
        file_name: what the file is called; empty: nothing new.
        sha256: of the whole file; empty: not known yet.

    Raises:
        LeaseLostError: the lease is no longer ours; nothing was written.
    """
    known = {"file_name": file_name, "media_sha256": sha256}
    lease.write(
        progress=min(max(share, 0.0), 1.0),
        progress_at=Now(),
        file_size_bytes=size_bytes,
        **{name: value for name, value in known.items() if value},
    )
