"""Names and shapes of the queues, for publishers and consumers alike."""

from __future__ import annotations

from typing import Final

from kombu import Exchange, Queue

# Most urgent first: a worker that names its queues in this order serves them so.
PRIORITIES: Final = ("high", "normal", "low")
PREPARE: Final = "prepare"
# One queue: a callback is sent in a moment, or waits for its receiver elsewhere.
CALLBACKS: Final = "callbacks"
# Kinds of queues that a model's name must not collide with.
RESERVED: Final = frozenset({PREPARE, CALLBACKS, "extraction", "upkeep"})


def queue_name(kind: str, priority: str) -> str:
    """The queue of a stage or of a model for one priority: a lane."""
    return f"{kind}.{priority}"


def queue_names(kind: str) -> list[str]:
    """The queues of a stage or of a model, most urgent first."""
    return [queue_name(kind, priority) for priority in PRIORITIES]


def queue(name: str) -> Queue:
    """A queue with an exchange and a key of its own.

    Queues that share the default exchange and key would each get every message.
    """
    return Queue(name, Exchange(name, "direct"), routing_key=name)


def queues(kind: str) -> list[Queue]:
    """The queues of a stage or of a model, most urgent first."""
    return [queue(name) for name in queue_names(kind)]
