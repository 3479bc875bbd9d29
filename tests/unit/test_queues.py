"""Names and shapes of the queues."""

from __future__ import annotations

import celeryconfig
from whisperhub.queues import CALLBACKS, PREPARE, RESERVED, queue, queue_names, queues


def test_the_most_urgent_queue_comes_first():
    assert queue_names("demo") == ["demo.high", "demo.normal", "demo.low"]
    assert [item.name for item in queues("demo")] == queue_names("demo")


def test_queues_share_neither_exchange_nor_key():
    made = queues("demo") + queues(PREPARE)

    assert len({item.exchange.name for item in made}) == len(made)
    assert len({item.routing_key for item in made}) == len(made)
    assert all(item.exchange.type == "direct" for item in made)


def test_a_queue_is_the_same_for_publisher_and_consumer():
    assert queue("demo.high") == queues("demo")[0]


def test_a_model_cannot_be_called_like_a_stage():
    assert {PREPARE, CALLBACKS} <= RESERVED


def test_media_workers_consume_preparation_in_order():
    names = [item.name for item in celeryconfig.task_queues]

    assert names == [*queue_names(PREPARE), CALLBACKS]
    assert celeryconfig.broker_transport_options["queue_order_strategy"] == "priority"
