"""Celery entry points: each wakes one service for one row."""

from __future__ import annotations

import os
import socket
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from celery.signals import worker_process_init
from django.conf import settings

from transcription.api.callbacks import event_body
from transcription.engines.registry import current_engine
from transcription.models import Callback
from transcription.services import delivery, events, execution, preparation
from transcription.services.leases import heartbeat
from transcription.services.transitions import Outcome

# Far above what decoding the longest media takes, beside fetching it; a child that
# hangs is killed.
PREPARATION_LIMIT_SECONDS = 3600 + settings.LINK_SECONDS


@worker_process_init.connect
def listen_in_media_worker(**_: Any) -> None:
    """Have cancellations heard at once where files are fetched: in prefork's children.

    Inference workers, whose pool is another, see to it themselves.
    """
    events.listen_for_stops(heartbeat.beat)


@shared_task(
    name="transcription.tasks.prepare_media",
    time_limit=PREPARATION_LIMIT_SECONDS,
)
def prepare_media(task_id: int) -> dict[str, str]:
    """Prepare the media of one task, if it still waits for that."""
    return _report(preparation.prepare(task_id, owner=heartbeat.owner))


@shared_task(name="transcription.tasks.run_transcription")
def run_transcription(task_id: int) -> dict[str, str]:
    """Transcribe one prepared task, if it is still queued."""
    return _report(
        execution.execute(task_id, engine=current_engine(), owner=heartbeat.owner)
    )


@shared_task(name="transcription.tasks.deliver_callback")
def deliver_callback(callback_id: int) -> dict[str, str]:
    """Send one callback to its receiver, if it is due."""
    owner = f"callbacks@{socket.gethostname()}/{os.getpid()}"
    return _report(delivery.deliver(callback_id, owner=owner, describe=event_body))


def _report(outcome: Outcome | Callback.State | None) -> dict[str, str]:
    """What Celery stores; nothing for a message that came too late."""
    if outcome is None:
        raise Ignore
    return {"outcome": outcome.value}
