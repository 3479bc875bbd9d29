"""Celery entry points: each wakes one service."""

from __future__ import annotations

import os
import socket
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from celery.signals import worker_process_init
from django.conf import settings

from transcription.engines.registry import current_engine
from transcription.services import delivery, events, execution, preparation
from transcription.services.hint_outcome import HintOutcome
from transcription.work.heartbeat import heartbeat

# Far above what decoding the longest media takes, beside fetching it; a child that
# hangs is killed.
PREPARATION_LIMIT_SECONDS = 3600 + settings.LINK_SECONDS


@worker_process_init.connect
def listen_in_media_worker(**_: Any) -> None:
    """Have cancellations heard at once where files are fetched: in prefork's children.

    Inference workers, whose pool is another, see to it themselves.
    """
    events.listen_for_stops(heartbeat.beat)


@worker_process_init.connect
def start_decoder(**_: Any) -> None:
    """Have a decoder process ready before the first file comes."""
    preparation.decoder.warm_up()


@shared_task(
    name="transcription.tasks.prepare_media",
    time_limit=PREPARATION_LIMIT_SECONDS,
)
def prepare_media(lane: str) -> dict[str, str]:
    """Prepare the media of the task whose turn it is in a lane, if one waits."""
    return _report(preparation.prepare(lane, owner=heartbeat.owner))


@shared_task(name="transcription.tasks.run_transcription")
def run_transcription(lane: str) -> dict[str, str]:
    """Transcribe the task whose turn it is in a lane, if one waits."""
    return _report(
        execution.execute(lane, engine=current_engine(), owner=heartbeat.owner)
    )


@shared_task(name="transcription.tasks.deliver_callback")
def deliver_callback(callback_id: int) -> dict[str, str]:
    """Send one callback to its receiver, if it is due."""
    owner = f"callbacks@{socket.gethostname()}/{os.getpid()}"
    state = delivery.deliver(callback_id, owner=owner)
    if state is None:
        raise Ignore
    return {"outcome": state.value}


def _report(served: HintOutcome | None) -> dict[str, str]:
    """What Celery stores; nothing for a message that found nobody waiting.

    The message is named after the task it was sent for, which may be another one.
    """
    if served is None:
        raise Ignore
    return {"task": str(served.public_id), "outcome": served.outcome.value}
