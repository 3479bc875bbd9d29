"""What a client may still change of its task: the priority, or a new start."""

from __future__ import annotations

import logging

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.limits import Client
from transcription import storage
from transcription.database import despite_conflicts
from transcription.errors import MediaGoneError, NotRetryableError, NotWaitingError
from transcription.models import TranscriptionTask
from transcription.retries import RETRYABLE
from transcription.services import quotas
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import priorities, restart
from transcription.storage import original_of

logger = logging.getLogger(__name__)


def change_priority(
    task: TranscriptionTask, priority: str, *, client: Client | None = None
) -> None:
    """Have a waiting task served with another priority; a new hint leaves for it.

    Args:
        task: to serve sooner or later.
        priority: what it is served with from now on.
        client: whose limits count; None: nobody's.

    Raises:
        PriorityNotAllowedError: the client may not have the priority.
        NotWaitingError: it runs, has ended, or is to be cancelled.
    """
    if client is not None:
        quotas.check_priority(client, priority)
    if not priorities.change_priority(task.pk, priority):
        raise NotWaitingError(_("The task no longer waits."))
    _hint_later(task.pk)
    logger.info("Task %s: priority %s", task.public_id, priority)


def retry_task(task: TranscriptionTask, *, client: Client | None = None) -> None:
    """Have a failed or cancelled task start again, with the same id and options.

    Media that go between the look and the new start fail the task in preparation.

    Args:
        task: to start again.
        client: for whose quotas it counts from now on; None: for whose it did.

    Raises:
        NotRetryableError: it has not ended, or it has its result.
        MediaGoneError: its media was deleted.
        QuotaError: the client may have no more tasks now.
    """
    if task.status not in RETRYABLE:
        raise _not_retryable()
    if not (_has_media(task) and _start_again(task.pk, client)):
        still = TranscriptionTask.objects.filter(pk=task.pk)
        if still.filter(status__in=RETRYABLE).exists():
            raise MediaGoneError(
                _("The media of this task is no longer here. Submit it again.")
            )
        raise _not_retryable()
    _hint_later(task.pk)
    logger.info("Task %s: started again", task.public_id)


@despite_conflicts
def _start_again(task_id: int, client: Client | None) -> bool:
    with transaction.atomic():
        if client is not None:
            quotas.admit(client)
        account_id = None if client is None else client.quota_account_id
        return restart.start_again(task_id, quota_account_id=account_id)


def _not_retryable() -> NotRetryableError:
    return NotRetryableError(
        _("Only a task that failed or was cancelled can start again.")
    )


def _has_media(task: TranscriptionTask) -> bool:
    # What came by a link can be fetched once more.
    return task.source == TranscriptionTask.Source.LINK or storage.current().exists(
        original_of(task.public_id)
    )


def _hint_later(task_id: int) -> None:
    transaction.on_commit(lambda: TASKS.send_hint(task_id), robust=True)
