"""Messages to workers; nobody waits long for a broker that is away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from celery import current_app
from kombu.exceptions import KombuError, OperationalError

from whisperhub.queues import queue
from whisperhub.redis import NEWS, REDIS_ERRORS, CircuitBreaker, redis_client

PUBLISH_ERRORS: Final = (KombuError, OperationalError, *REDIS_ERRORS)

# The dispatcher sends what was held back.
breaker: Final = CircuitBreaker("Messages are held back")


@dataclass(frozen=True)
class Hint:
    """A message that wakes a worker; to lose or double one is harmless.

    Attributes:
        task: the Celery task's name.
        args: of that task: numbers and names, no objects.
        message_id: one for each start of a row, so that Flower and the result table
            list them all.
        queue_name: where it is sent.
    """

    task: str
    args: list[Any]
    message_id: str
    queue_name: str


def publish(hint: Hint) -> Exception | None:
    """Send a message.

    Returns:
        Why it was not sent; None if it is on its way.
    """
    try:
        current_app.send_task(
            hint.task,
            args=hint.args,
            task_id=hint.message_id,
            # A queue object: a model that is new here needs no configuration here.
            queue=queue(hint.queue_name),  # type: ignore[arg-type]
        )
    except PUBLISH_ERRORS as error:
        breaker.trip(error)
        return error
    return None


def queue_length(name: str) -> int:
    """How many messages wait in a queue; those that workers were given do not count.

    Raises:
        RedisError, OSError: the broker is away.
    """
    length: Any = redis_client(NEWS).llen(name)
    return int(length)
