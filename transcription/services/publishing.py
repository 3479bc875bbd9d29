"""Sends messages to workers, and never makes anybody wait for a broker that is away."""

from __future__ import annotations

from typing import Any, Final

from celery import current_app
from kombu.exceptions import KombuError, OperationalError

from whisperhub.queues import queue
from whisperhub.redis import REDIS_ERRORS, CircuitBreaker

PUBLISH_ERRORS: Final = (KombuError, OperationalError, *REDIS_ERRORS)

# The dispatcher sends what was held back.
breaker: Final = CircuitBreaker("Messages are held back")


def publish(
    task: str, *, args: list[Any], message_id: str, queue_name: str
) -> Exception | None:
    """Send one message to a Celery task by its name.

    Returns:
        Why it was not sent; None if it is on its way.
    """
    try:
        current_app.send_task(
            task,
            args=args,
            task_id=message_id,
            # A queue object: a model that is new here needs no configuration here.
            queue=queue(queue_name),  # type: ignore[arg-type]
        )
    except PUBLISH_ERRORS as error:
        breaker.trip()
        return error
    return None
