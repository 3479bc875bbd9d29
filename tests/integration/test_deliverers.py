"""Processes that deliver callbacks, and are killed while they do."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.integration.steps import complete
from tests.support.factories import CallbackFactory, TaskFactory, UserFactory
from tests.support.fleet import Worker
from tests.support.receivers import FlappingReceiver, Receiver, running_receiver
from tests.support.waiting import patient, wait_for
from transcription.models import Callback
from transcription.services import callback_secrets

pytestmark = pytest.mark.django_db(transaction=True)

State = Callback.State

# How many events meet a flapping receiver and a sender that is killed twice: 300 take
# half a minute on two busy cores, 1,000 a minute and a half.
MANY = int(os.environ.get("TESTS_CALLBACKS", "300"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def test_a_killed_deliverer_is_made_up_for_by_another(receiver, fleet):
    posted, go_on = threading.Event(), threading.Event()

    def hold(connection: Any, closed: threading.Event) -> None:
        posted.set()
        go_on.wait(patient(20))

    receiver.then(hold)
    task = TaskFactory(callback_url=receiver.url, completed=True)
    callback = CallbackFactory(task=task)
    first = fleet.deliverer("callbacks-1")
    wait_for(posted.is_set, seconds=60, named=first.said)

    first.kill()
    go_on.set()
    second = fleet.deliverer("callbacks-2")

    def is_delivered() -> bool:
        assert second.is_running(), second.said()
        return Callback.objects.get().state == State.DELIVERED

    wait_for(is_delivered, seconds=60, named=lambda: second.said() + fleet.said())
    assert receiver.ids() == [str(callback.public_id)] * 2
    assert [made.error_code for made in callback.history.all()] == ["worker_lost", ""]
    assert second.stop() == 0


# The changes of rows are tested on each database; here it is the number that counts.
@pytest.mark.one_database
def test_every_event_arrives_whatever_receiver_and_sender_suffer(fleet):
    # The receiver fails half of the time: the schedule must outlast that.
    schedule = {"WHISPERHUB_CALLBACK_DELAYS": ",".join(["0.2", *["0.7"] * 40])}
    under_way = Callback.objects.filter(state=State.DELIVERING)
    delivered = Callback.objects.filter(state=State.DELIVERED)
    owner = UserFactory()

    def start(name: str) -> Worker:
        started: Worker = fleet.deliverer(name, threads=4, **schedule)
        return started

    def wait_for_deliveries(count: int) -> None:
        def are_made() -> bool:
            # Before a kill, some shall be in the middle.
            is_right_moment = count == MANY or under_way.exists()
            return delivered.count() >= count and is_right_moment

        wait_for(are_made, seconds=90, named=lambda: sender.said() + fleet.said())

    with closing(FlappingReceiver()) as receiver:
        sender = start("many-1")
        for _ in range(MANY):
            complete(
                TaskFactory(owner=owner, processing=True, callback_url=receiver.url)
            )
        for number in (1, 2):
            wait_for_deliveries(MANY * number // 3)
            sender.kill()
            assert delivered.count() < MANY
            sender = start(f"many-{number + 1}")
        wait_for_deliveries(MANY)
        assert sender.stop() == 0

    ids = set(map(str, Callback.objects.values_list("public_id", flat=True)))
    assert len(ids) == MANY
    assert {request.headers["webhook-id"] for request in receiver.taken} == ids
    assert len(receiver.received) > MANY
    (secret,) = callback_secrets.secrets_of(owner.pk)
    for request in receiver.taken:
        event = Webhook(secret.secret).verify(request.body, request.headers)
        assert event["type"] == "task.completed"
        assert event["data"]["status"] == "completed"
        assert event["data"]["result"]["text"]
