"""Answers that wait for a task: woken by the broker, or by looking at the row."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import AsyncClient

from tests.factories import ApiKeyFactory, TaskFactory, TranscriptFactory
from tests.problems import read_problem
from tests.waiting import wait_for
from transcription.api import waiting
from transcription.models import TranscriptionTask
from transcription.services import events

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/api/v1/detect-language/"
Status = TranscriptionTask.Status


def run(
    task: Any, *, seconds: float, meanwhile: Callable[[], None]
) -> tuple[bool, float]:
    """Wait for a task; `meanwhile` runs beside, and gives the moment that counts.

    Returns:
        Whether the task has ended, and the seconds between the end of `meanwhile` and
        the answer.
    """
    done: list[float] = []

    def beside() -> None:
        try:
            meanwhile()
            done.append(time.monotonic())
        finally:
            connections.close_all()

    async def wait() -> bool:
        ended = await waiting.wait_until_finished(task.public_id, seconds=seconds)
        await sync_to_async(connections.close_all)()
        await stop_listening()
        return ended

    thread = threading.Thread(target=beside)
    thread.start()
    ended = asyncio.run(wait())
    moment = time.monotonic()
    thread.join()
    return ended, moment - done[0]


async def stop_listening() -> None:
    """The subscription would otherwise end with its loop, in the middle of a read."""
    ends = waiting._by_loop.get(asyncio.get_running_loop())
    if ends is not None and ends._listener is not None:
        ends._listener.cancel()
        await asyncio.gather(ends._listener, return_exceptions=True)


def finish(task: Any) -> None:
    TranscriptionTask.objects.filter(pk=task.pk).update(status=Status.COMPLETED)


def test_news_wakes_who_waits_at_once(broker):
    task = TaskFactory(processing=True)

    def meanwhile() -> None:
        wait_for(lambda: broker.client.pubsub_numsub(events.CHANNEL)[0][1])
        finish(task)
        events.announce_finished(task.public_id, Status.COMPLETED)

    ended, seconds = run(task, seconds=20, meanwhile=meanwhile)

    assert ended
    assert seconds < 0.5


def test_news_of_another_task_wakes_nobody(broker):
    task = TaskFactory(processing=True)
    other = TaskFactory(processing=True)

    def meanwhile() -> None:
        wait_for(lambda: broker.client.pubsub_numsub(events.CHANNEL)[0][1])
        events.announce_finished(other.public_id, Status.COMPLETED)

    ended, _ = run(task, seconds=1, meanwhile=meanwhile)

    assert not ended


def test_lost_news_delay_the_answer_only(broker):
    task = TaskFactory(processing=True)

    def meanwhile() -> None:
        wait_for(lambda: broker.client.pubsub_numsub(events.CHANNEL)[0][1])
        finish(task)

    ended, seconds = run(task, seconds=20, meanwhile=meanwhile)

    assert ended
    assert seconds < waiting.LOOK_SECONDS + 1


def test_a_broker_that_is_away_delays_the_answer_only():
    task = TaskFactory(processing=True)

    ended, seconds = run(task, seconds=20, meanwhile=lambda: finish(task))

    assert ended
    assert seconds < waiting.LOOK_SECONDS + 1


def test_a_task_that_is_deleted_is_waited_for_no_longer(broker):
    task = TaskFactory(processing=True)

    ended, _ = run(
        task,
        seconds=20,
        meanwhile=lambda: TranscriptionTask.objects.all().delete() and None,
    )

    assert ended


# --- The view -------------------------------------------------------------------------


@pytest.fixture
def detect(no_hints, monkeypatch) -> Callable[..., Any]:
    """Ask for a language; `meanwhile` is what becomes of the task."""
    key = ApiKeyFactory()

    def send(meanwhile: Callable[[Any], object] | None = None) -> Any:
        async def wait(public_id: Any, *, seconds: float) -> bool:
            if meanwhile is None:
                return await wait_until_finished(public_id, seconds=0.05)
            task = await TranscriptionTask.objects.aget(public_id=public_id)
            await sync_to_async(meanwhile)(task)
            return await wait_until_finished(public_id, seconds=seconds)

        async def ask() -> Any:
            response = await AsyncClient().post(
                ADDRESS,
                {"file": SimpleUploadedFile("a.wav", b"sound")},
                headers={"Authorization": f"Bearer {key.secret}"},
            )
            await sync_to_async(connections.close_all)()
            await stop_listening()
            return response

        monkeypatch.setattr(waiting, "wait_until_finished", wait)
        return asyncio.run(ask())

    wait_until_finished = waiting.wait_until_finished
    return send


def test_who_waited_in_vain_gets_the_address_of_a_task(detect):
    response = detect()

    task = TranscriptionTask.objects.get()
    assert response.status_code == 202
    assert response.json()["id"] == str(task.public_id)
    assert response.headers["Retry-After"] == "1"
    assert task.task_type == TranscriptionTask.TaskType.DETECT_LANGUAGE


def test_a_detected_language_is_the_answer(detect):
    def complete(task: Any) -> None:
        finish(task)
        TranscriptFactory(task=task, language="es", language_probability=0.9)

    response = detect(complete)

    assert response.status_code == 200
    body = response.json()
    assert (body["language"], body["language_probability"]) == ("es", 0.9)
    assert body["id"] == str(TranscriptionTask.objects.get().public_id)


def test_media_that_cannot_be_used_is_told_with_its_code(detect):
    def fail(task: Any) -> None:
        TranscriptionTask.objects.filter(pk=task.pk).update(
            status=Status.FAILED,
            error_code="no_audio",
            error_message="The file holds no audio.",
        )

    response = detect(fail)

    assert read_problem(response, 409, "no_audio")["detail"] == (
        "The file holds no audio."
    )


def test_a_task_that_was_deleted_meanwhile_is_not_found(detect):
    response = detect(lambda task: task.delete())

    read_problem(response, 404, "not_found")
