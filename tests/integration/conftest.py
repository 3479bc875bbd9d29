"""What tests with a database, files or a broker may ask for."""

from __future__ import annotations

import json
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kombu.pools
import pytest
import redis
from django.conf import settings as django_settings
from django.core.files.uploadedfile import TemporaryUploadedFile

from tests.support.fleet import Fleet
from tests.support.memory_storage import MemoryStorage
from transcription import storage
from transcription.engines.base import Engine
from transcription.engines.plan import parse_slot
from transcription.engines.registry import create_engine
from transcription.models import DispatcherTick, TranscriptionTask, WorkerSlot
from transcription.services.held_tasks import TASKS
from transcription.work.heartbeat import heartbeat
from whisperhub import redis as connections_to_redis
from whisperhub.broker import to_redis_url
from whisperhub.celery import app as celery_app
from workers.broker import running_broker


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A media volume of its own for each test."""
    root = tmp_path_factory.mktemp("media")
    incoming = root / "incoming"
    incoming.mkdir(parents=True)
    settings.MEDIA_ROOT = root
    settings.FILE_UPLOAD_TEMP_DIR = incoming
    return root


@pytest.fixture(params=["local", "memory"])
def each_storage(
    request: pytest.FixtureRequest,
    media_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Run a test on the local disk, and once more on a storage that is no folder."""
    if request.param == "local":
        yield
        return
    folder = tmp_path_factory.mktemp("scratch")
    memory = MemoryStorage(folder)
    monkeypatch.setattr(storage, "current", lambda: memory)
    yield
    assert not (media_root / "tasks").exists(), "somebody knew a path"
    assert not list(folder.iterdir()), "somebody left a scratch file"


@pytest.fixture(scope="module")
def running_fleet(django_db_setup: None, django_db_blocker: Any) -> Iterator[Fleet]:
    """Worker processes for the tests of one file.

    Not of the whole run: they would take the tasks that other tests have in the
    database, whose leases expire and whose hints are due.
    """
    folder = Path(tempfile.mkdtemp(dir=django_settings.DATA_DIR))
    with running_broker(folder / "broker") as url:
        with django_db_blocker.unblock():
            fleet = Fleet(folder, url)
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()
            with django_db_blocker.unblock():
                # Written after the last test of the file had emptied the tables.
                DispatcherTick.objects.all().delete()
                WorkerSlot.objects.all().delete()


@pytest.fixture
def fleet(
    running_fleet: Fleet,
    media_root: Path,
    settings: Any,
    point_at_broker: Callable[[str], None],
) -> Iterator[Fleet]:
    """The worker processes, with this process on their broker and media."""
    settings.MEDIA_ROOT = running_fleet.media_root
    settings.FILE_UPLOAD_TEMP_DIR = running_fleet.media_root / "incoming"
    point_at_broker(running_fleet.broker_url)
    yield running_fleet
    # A job that a failed test left must not meet the next one.
    TranscriptionTask.objects.all().delete()


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The demo model, loaded once."""
    slot = parse_slot("cpu=demo", 0, "faster-whisper")
    made = create_engine(slot, model_dir=django_settings.MODEL_DIR, cpu_threads=1)
    made.load()
    yield made
    made.unload()


@pytest.fixture
def no_hints(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hints are noted in this list and go nowhere."""
    sent: list[int] = []

    def note(task_id: int) -> bool:
        sent.append(task_id)
        return True

    monkeypatch.setattr(TASKS, "send_hint", note)
    monkeypatch.setattr(TASKS, "send_marked", lambda task: note(task.pk))
    return sent


@pytest.fixture
def quiet_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heart beats when a test says so, not in a thread of its own."""
    monkeypatch.setattr(type(heartbeat), "_start", lambda self: None)


@pytest.fixture
def make_upload(media_root: Path) -> Iterator[Callable[..., TemporaryUploadedFile]]:
    """Make an upload that lies on the media volume, as Django's handler does."""
    made: list[TemporaryUploadedFile] = []

    def make(content: bytes, name: str = "speech.wav") -> TemporaryUploadedFile:
        upload = TemporaryUploadedFile(name, "audio/wav", len(content), None)
        upload.write(content)
        upload.seek(0)
        made.append(upload)
        return upload

    yield make
    for upload in made:
        upload.close()


# Its pools and options are not in the types.
app: Any = celery_app


@dataclass
class Hint:
    """A message in a queue."""

    id: str
    task: str
    args: list[Any]


class BrokerAtHand:
    """A real broker that this process publishes to."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = redis.Redis.from_url(to_redis_url(url))

    def hints(self, queue: str) -> list[Hint]:
        """What waits in a queue, oldest first."""
        found: list[Hint] = []
        for raw in reversed(self.client.lrange(queue, 0, -1)):
            message = json.loads(raw)
            args, _, _ = json.loads(b64decode(message["body"]))
            headers = message["headers"]
            found.append(Hint(headers["id"], headers["task"], args))
        return found

    def queues(self) -> set[str]:
        """The queues with a message in them."""
        names = [key.decode() for key in self.client.keys("*")]  # type: ignore[union-attr]
        return {name for name in names if not name.startswith("_kombu")}


@pytest.fixture(scope="session")
def broker_server() -> Iterator[str]:
    """The URL of one broker for the whole run."""
    with running_broker(Path(django_settings.DATA_DIR) / "broker") as url:
        yield url


@pytest.fixture
def broker(broker_server: str, point_at_broker: Callable[[str], None]) -> Any:
    """An empty broker that this process publishes to."""
    point_at_broker(broker_server)
    at_hand = BrokerAtHand(broker_server)
    at_hand.client.flushall()
    yield at_hand
    at_hand.client.close()


@pytest.fixture
def point_at_broker(settings: Any) -> Iterator[Callable[[str], None]]:
    """Make this process publish to a broker; afterwards to none again."""
    before = app.conf.broker_url

    def point(url: str) -> None:
        settings.BROKER_URL = url
        app.conf.broker_url = url
        _forget_connections()

    yield point
    app.conf.broker_url = before
    _forget_connections()


def _forget_connections() -> None:
    if app._pool is not None:
        app._pool.force_close_all()
        app._pool = None
    app.amqp._producer_pool = None
    kombu.pools.reset()
    # Clients without an owner close their connections.
    connections_to_redis._registered.cache_clear()
    connections_to_redis._shared_client.cache_clear()
