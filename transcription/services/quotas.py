"""What a client may have waiting and may have transcribed, and what that has cost it.

A quota is looked at when a task is about to enter, in the transaction that lets it in.
What its audio comes to is known after preparation only and is counted there; so the
task that passes the limit of a day is let through, and those behind it are not.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from accounts import usage
from accounts.limits import Client, quota_account_of
from transcription.engines.options import DecodeOptions
from transcription.errors import (
    AudioQuotaError,
    PriorityNotAllowedError,
    QueueQuotaError,
)
from transcription.models import TranscriptionTask

Status = TranscriptionTask.Status

# Nobody knows when a task of the client will end; one that waits less asks too often.
QUEUE_RETRY_SECONDS: Final = 10
UNFINISHED: Final = (Status.PREPARING, Status.QUEUED, Status.PROCESSING)


def check_priority(client: Client, priority: str) -> None:
    """Refuse a priority that is above the highest of the client.

    Raises:
        PriorityNotAllowedError: it is.
    """
    if not client.limits.allows(priority):
        raise PriorityNotAllowedError(
            _("The highest priority that you may use is %(highest)s.")
            % {"highest": client.limits.highest_priority}
        )


def admit(client: Client) -> None:
    """Refuse a task for which the client has no room.

    Belongs in the transaction that lets the task in, before it does. Where the number
    of tasks is limited, others of the same account wait here until that transaction
    ends, so that of several requests at once no more get in than there is room for.

    Raises:
        QuotaError: see `check_room`.
    """
    if client.limits.unfinished_tasks:
        usage.hold_today(client.quota_account_id, client.owner_id)
    check_room(client)


def check_room(client: Client) -> None:
    """Tell whether a task could enter at this moment.

    Raises:
        AudioQuotaError: the audio of this day is used up.
        QueueQuotaError: too many tasks have not ended.
    """
    seconds = client.limits.audio_seconds_per_day
    if seconds and usage.audio_seconds_today(client.quota_account_id) >= seconds:
        left = usage.midnight() - datetime.now(UTC)
        raise AudioQuotaError(
            _(
                "You have used your %(count)d seconds of audio of this day. Go on "
                "after midnight UTC."
            )
            % {"count": seconds},
            wait=max(1, math.ceil(left.total_seconds())),
        )
    most = client.limits.unfinished_tasks
    if most and unfinished_tasks(client.quota_account_id, most=most) >= most:
        raise QueueQuotaError(
            _("You may have %(count)d unfinished tasks. Wait until some have ended.")
            % {"count": most},
            wait=QUEUE_RETRY_SECONDS,
        )


def unfinished_tasks(account_id: int, *, most: int) -> int:
    """How many tasks of an account have not ended; counts no further than `most`."""
    return TranscriptionTask.objects.filter(
        quota_account=account_id, status__in=UNFINISHED
    )[:most].count()


def charge(task_id: int, seconds: float) -> None:
    """Count the audio of a prepared task; belongs in the transaction that queues it.

    What was counted for it before is not counted again: a task that starts once more
    costs nothing, unless its link has come to lead to something longer. Options that
    make more windows of it than its length does count as so much more audio.

    Args:
        task_id: the task.
        seconds: the length of its recording.
    """
    task = TranscriptionTask.objects.only(
        "owner", "quota_account", "charged_seconds", "options"
    ).get(pk=task_id)
    before, account_id = task.charged_seconds, task.quota_account_id
    seconds = _counted(task.options, seconds)
    more = seconds - (before or 0.0)
    if before is not None and more <= 0:
        return
    TranscriptionTask.objects.filter(pk=task_id).update(charged_seconds=seconds)
    if account_id is None:
        # A task from before keys had limits, or one whose account is deleted.
        account_id = quota_account_of(task.owner)
    usage.charge(
        account_id,
        task.owner_id,
        audio_seconds=more,
        tasks=int(before is None),
    )


def _counted(options: dict[str, Any], seconds: float) -> float:
    """The seconds that a recording counts as."""
    try:
        return DecodeOptions.from_dict(options).counted_seconds(seconds)
    except TypeError:
        # Submitted to another release; its worker refuses it.
        return seconds
