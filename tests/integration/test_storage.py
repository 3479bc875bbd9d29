"""What every storage promises, and the whole way of a task over each."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile

from tests.integration import steps
from tests.integration.api.conftest import TASKS, client_with
from tests.support.engines import ScriptedEngine
from tests.support.factories import ApiKeyFactory
from tests.support.media_files import make_tone, write_tracks
from tests.support.stored_files import ON_DISK, TaskFiles
from transcription import storage
from transcription.errors import EngineError
from transcription.models import TranscriptionTask
from transcription.services import retention
from transcription.services.transitions.changes import Outcome
from transcription.storage import (
    FileKey,
    FileKind,
    keep_upload,
    original_of,
    result_of,
    samples_of,
)
from whisperhub.sentences import Sentence

pytestmark = pytest.mark.usefixtures("each_storage")


@pytest.fixture
def task_id() -> uuid.UUID:
    return uuid.uuid4()


def put(key: FileKey, content: bytes) -> int:
    files = storage.current()
    with files.scratch(key) as path:
        path.write_bytes(content)
        return files.keep(key, path)


def content_of(key: FileKey) -> bytes:
    with storage.current().open(key) as file:
        return file.read()


# --- One file ------------------------------------------------------------------------


def test_what_was_kept_can_be_read_as_a_stream_and_as_a_file(task_id):
    key = original_of(task_id)

    assert put(key, b"sound") == 5

    assert storage.current().exists(key)
    assert content_of(key) == b"sound"
    with storage.current().local_path(key) as path:
        assert path.read_bytes() == b"sound"
    assert storage.current().occupied_bytes(key) > 0


def test_a_later_file_takes_the_place_of_the_first(task_id):
    put(samples_of(task_id), b"first")
    put(samples_of(task_id), b"second")

    assert content_of(samples_of(task_id)) == b"second"


def test_a_file_that_was_kept_is_gone_from_its_path(task_id, tmp_path):
    path = tmp_path / "elsewhere"
    path.write_bytes(b"sound")

    storage.current().keep(original_of(task_id), path)

    assert not path.exists()


def test_a_file_that_grows_is_seen_by_nobody(task_id):
    files, key = storage.current(), samples_of(task_id)

    with files.scratch(key) as path:
        assert not path.exists()
        path.write_bytes(b"half of it")
        assert not files.exists(key)

    assert not path.exists()
    assert not files.exists(key)


def test_every_scratch_path_is_another(task_id):
    files, key = storage.current(), samples_of(task_id)

    with files.scratch(key) as one, files.scratch(key) as other:
        assert one != other


def test_a_scratch_file_goes_when_its_writer_fails(task_id):
    paths: list[Path] = []

    def write() -> None:
        with storage.current().scratch(samples_of(task_id)) as path:
            paths.append(path)
            path.write_bytes(b"half of it")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()

    assert not paths[0].exists()


def test_what_is_not_there_is_not_found(task_id):
    files, key = storage.current(), original_of(task_id)

    assert not files.exists(key)
    assert files.occupied_bytes(key) == 0
    with pytest.raises(FileNotFoundError):
        files.open(key)
    with pytest.raises(FileNotFoundError), files.local_path(key):
        pytest.fail("a path to nothing")
    with pytest.raises(FileNotFoundError), files.scratch(key) as path:
        files.keep(key, path)


def test_a_small_file_is_written_beside_others(task_id):
    put(samples_of(task_id), b"samples")

    storage.current().write(result_of(task_id), b"text")

    assert content_of(result_of(task_id)) == b"text"


def test_nothing_is_written_for_a_task_that_was_deleted(task_id):
    put(samples_of(task_id), b"samples")
    storage.current().discard(task_id)

    with pytest.raises(FileNotFoundError):
        storage.current().write(result_of(task_id), b"text")

    assert not TaskFiles(task_id).exist()


@pytest.mark.parametrize("kind", [SimpleUploadedFile, TemporaryUploadedFile])
def test_an_upload_is_kept_wherever_it_grew(task_id, kind, make_upload):
    upload: Any = (
        make_upload(b"sound")
        if kind is TemporaryUploadedFile
        else SimpleUploadedFile("a.wav", b"sound")
    )

    assert keep_upload(storage.current(), original_of(task_id), upload) == 5

    assert content_of(original_of(task_id)) == b"sound"


# --- All files of a task -------------------------------------------------------------


def test_tasks_are_listed_with_the_time_of_their_last_change(task_id):
    put(original_of(task_id), b"sound")
    put(samples_of(task_id), b"samples")
    before = next(storage.current().tasks()).changed_at
    TaskFiles(task_id).make_old(3)

    (stored,) = storage.current().tasks()

    assert stored.task_id == task_id
    assert before - stored.changed_at == pytest.approx(3 * 3600, abs=60)


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ((), []),
        ({FileKind.ORIGINAL}, ["original"]),
        ({FileKind.ORIGINAL, FileKind.SAMPLES}, ["original", "samples.s16le"]),
    ],
)
def test_what_is_discarded_leaves_what_is_to_be_kept(task_id, keep, left):
    other = uuid.uuid4()
    for key in (original_of(task_id), samples_of(task_id), original_of(other)):
        put(key, b"content")
    storage.current().write(result_of(task_id), b"text")

    storage.current().discard(task_id, keep=keep)

    assert TaskFiles(task_id).names() == left
    assert TaskFiles(task_id).exist() == bool(left)
    assert TaskFiles(other).names() == ["original"]


def test_to_discard_nothing_is_no_error(task_id):
    storage.current().discard(task_id)
    storage.current().discard(task_id, keep={FileKind.ORIGINAL})
    storage.current().discard_unfinished(task_id)

    assert list(storage.current().tasks()) == []


# --- On the disk ---------------------------------------------------------------------


@ON_DISK
def test_files_lie_where_earlier_releases_put_them(task_id, media_root):
    put(original_of(task_id), b"sound")
    put(samples_of(task_id), b"samples")
    storage.current().write(result_of(task_id), b"text")

    folder = media_root / "tasks" / str(task_id)[:2] / str(task_id)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["original", "result", "samples.s16le"]


@ON_DISK
def test_a_file_of_another_volume_is_copied_and_then_renamed(
    task_id, tmp_path, monkeypatch
):
    path, rename = tmp_path / "elsewhere", Path.replace
    path.write_bytes(b"sound")

    def replace(self: Path, target: Path) -> Path:
        if self == path:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)

    assert storage.current().keep(original_of(task_id), path) == 5

    assert TaskFiles(task_id).names() == ["original"]
    assert content_of(original_of(task_id)) == b"sound"
    assert not path.exists()


@ON_DISK
def test_holes_take_no_room(task_id):
    files, key = storage.current(), samples_of(task_id)

    with files.scratch(key) as path:
        with path.open("wb") as file:
            file.truncate(2**24)
        assert files.keep(key, path) == 2**24

    assert files.occupied_bytes(key) < 2**20


@ON_DISK
def test_the_scratch_file_of_a_deleted_task_is_not_kept(task_id):
    """A worker that decodes while the task is deleted."""
    files, key = storage.current(), samples_of(task_id)
    put(original_of(task_id), b"sound")

    with files.scratch(key) as path:
        path.write_bytes(b"samples")
        files.discard(task_id)
        with pytest.raises(FileNotFoundError):
            files.keep(key, path)

    assert not TaskFiles(task_id).exist()


@ON_DISK
def test_what_cannot_be_deleted_is_logged(task_id, monkeypatch, caplog):
    put(original_of(task_id), b"sound")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("os.unlink", refuse)
        patch.setattr(Path, "unlink", refuse)
        storage.current().discard(task_id)
        storage.current().discard(task_id, keep={FileKind.SAMPLES})

    assert TaskFiles(task_id).names() == ["original"]
    assert "original not deleted, Permission denied" in caplog.text
    assert "its files could not all be deleted" in caplog.text


# --- From the upload to the result ---------------------------------------------------


@pytest.fixture
def client(db: None) -> Any:
    return client_with(ApiKeyFactory().secret)


@pytest.fixture
def upload(client: Any, tmp_path: Path) -> Any:
    """Send a recording with an English and a German track."""
    tones = make_tone(1.0), make_tone(1.0, seed=7)
    path = write_tracks(tmp_path / "a", *tones, languages="eng ger")

    def send(to: str = TASKS, **fields: Any) -> str:
        sent = {"file": SimpleUploadedFile("a.mkv", path.read_bytes()), **fields}
        response = client.post(to, sent, format="multipart")
        assert response.status_code in (201, 202), response.content
        return f"{TASKS}{task().public_id}/"

    return send


def task() -> TranscriptionTask:
    return TranscriptionTask.objects.get()


@pytest.mark.usefixtures("no_hints", "quiet_heart")
@pytest.mark.parametrize(
    ("to", "fields", "language"),
    [
        (TASKS, {}, "en"),
        (TASKS, {"audio_track": "de"}, "en"),
        ("/api/v1/detect-language/", {}, "es"),
    ],
    ids=["transcribe", "another track", "detect language"],
)
def test_an_upload_becomes_a_result(client, upload, to, fields, language):
    address = upload(to, **fields)

    outcomes = [
        steps.prepare(task().pk),
        steps.execute(task().pk, engine=ScriptedEngine()),
    ]

    assert outcomes == [Outcome.QUEUED, Outcome.COMPLETED]
    assert client.get(address).json()["status"] == "completed"
    assert client.get(f"{address}result/").json()["language"] == language
    assert not TaskFiles(task().public_id).exist()


@pytest.mark.usefixtures("no_hints", "quiet_heart")
def test_a_task_that_failed_starts_again_with_its_upload(client, upload):
    address = upload()
    steps.prepare(task().pk)

    def fail(listener: Any) -> None:
        raise EngineError(Sentence("It is broken."))

    TranscriptionTask.objects.update(attempts=2)
    steps.execute(task().pk, engine=ScriptedEngine(fail))
    assert task().status == "failed"
    assert TaskFiles(task().public_id).names() == ["original"]

    client.post(f"{address}retry/")
    outcomes = [
        steps.prepare(task().pk),
        steps.execute(task().pk, engine=ScriptedEngine()),
    ]

    assert outcomes == [Outcome.QUEUED, Outcome.COMPLETED]
    assert not TaskFiles(task().public_id).exist()


@pytest.mark.usefixtures("no_hints", "quiet_heart")
def test_a_deleted_task_leaves_nothing_for_the_sweep(client, upload):
    address = upload()
    steps.prepare(task().pk)
    names = TaskFiles(task().public_id).names()
    assert names == ["original", "samples.s16le"]

    assert client.delete(address).status_code == 204

    assert list(storage.current().tasks()) == []
    assert retention.sweep() == 0
