"""Answers that wait for a task: woken by the broker, or by looking at the rows."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from tests.support.factories import ApiKeyFactory, TaskFactory, TranscriptFactory
from tests.support.problems import check_problem
from tests.support.waiting import patient, wait_for
from tests.support.web import running_web
from transcription.api.views import DetectLanguageView
from transcription.models import TranscriptionTask
from transcription.services import events, waiting
from whisperhub import places
from whisperhub.web.deferred import STOPPING
from whisperhub.web.handler import Handler

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/api/v1/detect-language/"
Status = TranscriptionTask.Status


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """One thread that keeps its connection, as the web process has four."""
    pool = ThreadPoolExecutor(1)
    yield pool
    pool.submit(connections.close_all).result(20)
    pool.shutdown()


@pytest.fixture
def run(threads: ThreadPoolExecutor) -> Callable[..., tuple[bool, float]]:
    """Wait for a task; `meanwhile` runs beside, and its end is what counts.

    Gives whether the task has ended, and the seconds between the end of `meanwhile`
    and the answer.
    """

    def waited(
        task: Any, *, seconds: float, meanwhile: Callable[[], None]
    ) -> tuple[bool, float]:
        done: list[float] = []

        def beside() -> None:
            try:
                meanwhile()
                done.append(time.monotonic())
            finally:
                connections.close_all()

        thread = threading.Thread(target=beside)
        thread.start()
        (ended,) = asyncio.run(wait_for_all(threads, [task], seconds=seconds))
        moment = time.monotonic()
        thread.join()
        return ended, moment - done[0]

    return waited


async def wait_for_all(
    threads: ThreadPoolExecutor, tasks: list[Any], *, seconds: float
) -> list[bool]:
    """Wait for several tasks at once."""
    loop = asyncio.get_running_loop()

    async def in_thread(function: Any, *arguments: Any) -> Any:
        return await loop.run_in_executor(threads, function, *arguments)

    ended = await asyncio.gather(
        *(
            waiting.wait_until_ended(
                task.public_id, seconds=seconds, in_thread=in_thread
            )
            for task in tasks
        )
    )
    await stop_listening()
    return ended


async def stop_listening() -> None:
    """The subscription would otherwise end with its loop, in the middle of a read."""
    waiters = waiting._by_loop.get(asyncio.get_running_loop())
    background = [] if waiters is None else list(waiters._background.values())
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)


def finish(task: Any) -> None:
    TranscriptionTask.objects.filter(pk=task.pk).update(status=Status.COMPLETED)


def test_news_wakes_who_waits_at_once(broker, run):
    task = TaskFactory(processing=True)

    def meanwhile() -> None:
        wait_for(lambda: broker.client.pubsub_numsub(events.CHANNEL)[0][1])
        finish(task)
        events.announce_finished(task.public_id, Status.COMPLETED)

    ended, seconds = run(task, seconds=20, meanwhile=meanwhile)

    assert ended
    assert seconds < 0.5


def test_news_of_another_task_wakes_nobody(broker, run):
    task = TaskFactory(processing=True)
    other = TaskFactory(processing=True)

    def meanwhile() -> None:
        wait_for(lambda: broker.client.pubsub_numsub(events.CHANNEL)[0][1])
        events.announce_finished(other.public_id, Status.COMPLETED)

    ended, _ = run(task, seconds=1, meanwhile=meanwhile)

    assert not ended


def test_lost_news_delay_the_answer_only(broker, run):
    task = TaskFactory(processing=True)

    def meanwhile() -> None:
        wait_for(lambda: broker.client.pubsub_numsub(events.CHANNEL)[0][1])
        finish(task)

    ended, seconds = run(task, seconds=20, meanwhile=meanwhile)

    assert ended
    assert seconds < waiting.LOOK_SECONDS + 1


def test_a_broker_that_is_away_delays_the_answer_only(run):
    task = TaskFactory(processing=True)

    ended, seconds = run(task, seconds=20, meanwhile=lambda: finish(task))

    assert ended
    assert seconds < waiting.LOOK_SECONDS + 1


def test_a_task_that_is_deleted_is_waited_for_no_longer(broker, run):
    task = TaskFactory(processing=True)

    ended, _ = run(
        task,
        seconds=20,
        meanwhile=lambda: TranscriptionTask.objects.all().delete() and None,
    )

    assert ended


def test_all_who_wait_share_each_look_at_the_database(broker, threads, monkeypatch):
    """Eight waiters, and as many queries for them as for one: not eight times more."""
    tasks = TaskFactory.create_batch(8, processing=True)
    looked_at: list[int] = []
    look = waiting.ended_among

    def note(public_ids: Any) -> Any:
        looked_at.append(len(public_ids))
        return look(public_ids)

    monkeypatch.setattr(waiting, "ended_among", note)
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.05)

    ended = asyncio.run(wait_for_all(threads, tasks, seconds=0.5))

    assert ended == [False] * 8
    # The first may look before the others have come.
    assert len(looked_at) < 13
    assert looked_at[-1] == 8


def test_many_tasks_are_looked_at_in_one_query():
    running = TaskFactory.create_batch(3, processing=True)
    over = [TaskFactory(completed=True), TaskFactory(failed=True)]
    gone = TaskFactory.build().public_id

    with CaptureQueriesContext(connection) as queries:
        ended = waiting.ended_among(
            [*(task.public_id for task in [*running, *over]), gone]
        )

    assert ended == {*(task.public_id for task in over), gone}
    assert len(queries) == 1


def test_a_look_that_fails_is_followed_by_another(threads, monkeypatch, caplog):
    task = TaskFactory(completed=True)
    look = waiting.ended_among
    failed: list[Any] = []

    def fail_once(public_ids: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError("away")
        return look(public_ids)

    monkeypatch.setattr(waiting, "ended_among", fail_once)
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.05)

    assert asyncio.run(wait_for_all(threads, [task], seconds=20)) == [True]
    assert "were not looked at" in caplog.text


# --- The view -------------------------------------------------------------------------


class Client:
    """Asks a handler with one thread, as a server would; keeps what it answers."""

    def __init__(self, handler: Handler, secret: str) -> None:
        self.handler = handler
        self.stopping = asyncio.Event()
        self.leave = asyncio.Event()
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        if secret:
            headers.append((b"authorization", b"Bearer " + secret.encode()))
        self.headers = headers

    async def ask(
        self, address: str = ADDRESS, *, method: str = "POST", query: bytes = b""
    ) -> Any:
        """Send a link; gives status, headers and body, or None for no answer."""
        body = json.dumps({"file_url": "https://example.org/a.mp3"}).encode()
        if method != "POST":
            body = b""
        messages = [{"type": "http.request", "body": body}]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await self.leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": address,
            "query_string": query,
            "headers": [*self.headers, (b"content-length", b"%d" % len(body))],
            "client": ("127.0.0.1", 1),
            "state": {STOPPING: self.stopping},
        }
        await asyncio.wait_for(self.handler(scope, receive, send), 30)
        return Answered(sent) if sent else None


class Answered:
    """What was sent."""

    def __init__(self, sent: list[Any]) -> None:
        self.status = sent[0]["status"]
        self.headers = {
            name.decode().lower(): value.decode() for name, value in sent[0]["headers"]
        }
        self.content = b"".join(message.get("body", b"") for message in sent[1:])
        assert self.headers["content-length"] == str(len(self.content))

    def json(self) -> Any:
        return json.loads(self.content)


@pytest.fixture
def handler(no_hints: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Handler]:
    """With one thread. News is tested above: here each look soon follows another."""
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.05)
    made = Handler(threads=1)
    yield made
    made._threads.submit(connections.close_all).result(20)
    made._threads.shutdown()


@pytest.fixture
def secret() -> str:
    return str(ApiKeyFactory().secret)


async def until(condition: Callable[[], Any], client: Client) -> Any:
    """Ask the database again and again, in the handler's thread."""
    async with asyncio.timeout(20):
        while not (found := await client.handler._in_thread(condition)):
            await asyncio.sleep(0.01)
    return found


def talk(handler: Handler, secret: str, conversation: Callable[[Client], Any]) -> Any:
    """Run a conversation in an event loop."""

    async def run() -> Any:
        try:
            return await conversation(Client(handler, secret))
        finally:
            await stop_listening()

    return asyncio.run(run())


def answer_after(handler: Handler, secret: str, change: Callable[[Any], Any]) -> Any:
    """The answer to a request whose task is changed while it waits."""

    async def conversation(client: Client) -> Any:
        asked = asyncio.create_task(client.ask())
        task = await until(TranscriptionTask.objects.first, client)
        await client.handler._in_thread(change, task)
        return await asked

    return talk(handler, secret, conversation)


def complete(task: Any) -> None:
    TranscriptFactory(task=task, language="es", language_probability=0.9)
    finish(task)
    events.announce_finished(task.public_id, Status.COMPLETED)


def test_who_waited_in_vain_gets_the_address_of_a_task(handler, secret, monkeypatch):
    monkeypatch.setattr(DetectLanguageView, "wait_seconds", 0.05)

    answer = talk(handler, secret, lambda client: client.ask())

    task = TranscriptionTask.objects.get()
    assert answer.status == 202
    assert answer.json()["id"] == str(task.public_id)
    assert answer.headers["retry-after"] == "1"
    assert task.task_type == TranscriptionTask.TaskType.DETECT_LANGUAGE


def test_a_detected_language_is_the_answer(broker, handler, secret):
    answer = answer_after(handler, secret, complete)

    assert answer.status == 200
    assert "retry-after" not in answer.headers
    body = answer.json()
    assert (body["language"], body["language_probability"]) == ("es", 0.9)
    assert body["id"] == str(TranscriptionTask.objects.get().public_id)


def test_open_mode_answers_who_waits(broker, handler, settings):
    """It has no key, and its requests no CSRF token: it is asked for neither."""
    settings.OPEN_MODE = True

    answer = answer_after(handler, "", complete)

    assert answer.status == 200
    assert answer.json()["language"] == "es"


def test_media_that_cannot_be_used_is_told_with_its_code(broker, handler, secret):
    def fail(task: Any) -> None:
        TranscriptionTask.objects.filter(pk=task.pk).update(
            status=Status.FAILED,
            error_code="no_audio",
            error_message="The file holds no audio.",
        )
        events.announce_finished(task.public_id, Status.FAILED)

    answer = answer_after(handler, secret, fail)

    assert answer.headers["content-type"] == "application/problem+json"
    check_problem(answer.json(), 409, "no_audio")
    assert answer.status == 409
    assert answer.json()["detail"] == "The file holds no audio."


def test_a_task_that_was_deleted_meanwhile_is_not_found(handler, secret):
    answer = answer_after(handler, secret, lambda task: task.delete())

    assert answer.status == 404
    check_problem(answer.json(), 404, "not_found")


def test_the_answer_is_in_the_language_of_the_request(handler, secret):
    async def conversation(client: Client) -> Any:
        asked = asyncio.create_task(client.ask(query=b"lang=zh-hans"))
        task = await until(TranscriptionTask.objects.first, client)
        await client.handler._in_thread(task.delete)
        return await asked

    answer = talk(handler, secret, conversation)

    assert answer.headers["content-language"] == "zh-hans"
    assert "Accept-Language" in answer.headers["vary"]
    assert answer.json()["title"] == "未找到"


def test_an_answer_that_is_waited_for_counts_once(broker, handler, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 3

    answer = answer_after(handler, ApiKeyFactory().secret, complete)

    assert answer.headers["ratelimit-remaining"] == "2"


def waiting_requests(client: Client, count: int) -> Callable[[], bool]:
    return lambda: TranscriptionTask.objects.count() == count


def test_who_waits_holds_no_thread(broker, handler, secret):
    """The handler has one thread; 20 wait, and another request is answered."""

    async def conversation(client: Client) -> Any:
        asked = [asyncio.create_task(client.ask()) for _ in range(20)]
        await until(waiting_requests(client, 20), client)
        threads = threading.active_count()
        models = await client.ask("/api/v1/models/", method="GET")
        client.stopping.set()
        return threads, models, await asyncio.gather(*asked)

    before = threading.active_count()
    threads, models, answers = talk(handler, secret, conversation)

    assert models.status == 200
    # That of the handler, and asyncio's for names of hosts.
    assert threads <= before + 2
    assert [answer.status for answer in answers] == [202] * 20


def test_a_server_that_stops_answers_who_waits(broker, handler, secret):
    async def conversation(client: Client) -> Any:
        asked = asyncio.create_task(client.ask())
        await until(waiting_requests(client, 1), client)
        client.stopping.set()
        return await asked

    answer = talk(handler, secret, conversation)

    assert answer.status == 202
    assert answer.json()["id"] == str(TranscriptionTask.objects.get().public_id)


def test_a_client_that_leaves_waits_no_longer(broker, handler, secret, settings):
    settings.KEY_WAITING_REQUESTS = 1

    async def conversation(client: Client) -> Any:
        asked = asyncio.create_task(client.ask())
        await until(waiting_requests(client, 1), client)
        client.leave.set()
        assert await asked is None
        # Its place is free.
        another = Client(handler, secret)
        another.stopping.set()
        return await another.ask()

    assert talk(handler, secret, conversation).status == 202


@pytest.mark.parametrize("with_broker", [True, False])
def test_no_more_wait_than_a_key_may_have(request, handler, settings, with_broker):
    if with_broker:
        request.getfixturevalue("broker")
    settings.KEY_WAITING_REQUESTS = 2
    mine, another = ApiKeyFactory().secret, ApiKeyFactory().secret

    async def conversation(client: Client) -> Any:
        asked = [asyncio.create_task(client.ask()) for _ in range(2)]
        await until(waiting_requests(client, 2), client)
        refused = await client.ask()
        others = Client(handler, another)
        others.stopping.set()
        theirs = await others.ask()
        client.stopping.set()
        return refused, theirs, await asyncio.gather(*asked), await client.ask()

    refused, theirs, answers, later = talk(handler, mine, conversation)

    assert refused.status == 429
    check_problem(refused.json(), 429, "too_many_waiting")
    assert refused.headers["retry-after"] == "5"
    # Nothing was made for it.
    assert TranscriptionTask.objects.count() == 4
    assert theirs.status == 202
    assert [answer.status for answer in answers] == [202, 202]
    assert later.status == 202


def test_a_request_that_is_refused_leaves_its_place(handler, secret, settings):
    settings.KEY_WAITING_REQUESTS = 1

    async def conversation(client: Client) -> Any:
        client.headers = [
            (name, b"text/plain" if name == b"content-type" else value)
            for name, value in client.headers
        ]
        return [await client.ask() for _ in range(3)]

    answers = talk(handler, secret, conversation)

    assert [answer.status for answer in answers] == [415] * 3


def test_a_web_process_that_is_told_to_end_answers_who_waits(
    media_root, broker_server, secret
):
    with (
        ThreadPoolExecutor(1) as pool,
        running_web(media_root, broker_server) as address,
    ):
        asked = pool.submit(
            requests.post,
            f"{address}{ADDRESS}",
            json={"file_url": "https://example.org/a.mp3"},
            headers={"Authorization": f"Bearer {secret}"},
            timeout=patient(60),
        )
        wait_for(TranscriptionTask.objects.exists, seconds=30)
        # Leaving the block stops the process.

    assert asked.result().status_code == 202


# --- Places ---------------------------------------------------------------------------


def test_places_are_counted_and_released(broker):
    first = places.take("x", most=1, seconds=60)
    assert first is not None
    assert places.take("x", most=1, seconds=60) is None
    assert not places.is_free("x", most=1)
    assert places.is_free("y", most=1)

    first.release()
    first.release()

    assert places.is_free("x", most=1)
    assert not broker.client.exists(places.PREFIX + "x")


def test_a_place_of_a_process_that_died_comes_free(broker):
    assert places.take("x", most=1, seconds=0.05)

    wait_for(lambda: places.take("x", most=1, seconds=60), seconds=5)


def test_places_are_counted_without_the_broker():
    first = places.take("x", most=1, seconds=60)
    assert first is not None
    assert places.take("x", most=1, seconds=60) is None

    first.release()

    assert places.take("x", most=1, seconds=60)
