"""An upload becomes a task: row and file, or neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, InterfaceError

from tests.support.factories import SlotFactory, UserFactory
from tests.support.stored_files import ON_DISK, TaskFiles
from transcription import storage
from transcription.errors import (
    EmptyUploadError,
    TypeNotAllowedError,
    UnknownModelError,
    UnsupportedOptionError,
    UploadTooLargeError,
)
from transcription.media.types import AllowedTypes
from transcription.models import TranscriptionTask
from transcription.services import submission
from transcription.services.file_names import clean_file_name
from transcription.services.submission import (
    TaskRequest,
    submit_upload,
)
from transcription.work.publishing import breaker
from whisperhub.web.request_id import current_request_id

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_storage")]


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@ON_DISK
def test_the_upload_is_moved_into_the_tasks_folder(make_upload, no_hints, media_root):
    upload = make_upload(b"sound", "talk.mp3")
    inode = Path(upload.temporary_file_path()).stat().st_ino

    task = submit_upload(UserFactory(), upload, TaskRequest())

    original = TaskFiles(task.public_id).original.path
    assert original.read_bytes() == b"sound"
    assert original.stat().st_ino == inode, "copied, not renamed"
    assert original.stat().st_mode & 0o777 == 0o600
    assert original.parent.stat().st_mode & 0o777 == 0o700
    assert files_below(media_root) == [original]


def test_the_row_says_what_was_asked(make_upload, no_hints):
    SlotFactory(model="small", engine="openai-whisper")
    owner = UserFactory()
    token = current_request_id.set("the-request")

    submit_upload(
        owner,
        make_upload(b"sound", "talk.mp3"),
        TaskRequest(
            task_type="translate",
            priority="high",
            model="small",
            language="es",
            platform="web",
            options={"word_timestamps": True},
        ),
    )

    current_request_id.reset(token)
    task = TranscriptionTask.objects.get()
    assert (task.owner, task.request_id) == (owner, "the-request")
    assert (task.status, task.task_type, task.language) == (
        "preparing",
        "translate",
        "es",
    )
    assert (task.priority, task.effective_priority) == ("high", "high")
    assert (task.model, task.engine) == ("small", "openai-whisper")
    assert task.options == {"word_timestamps": True}
    assert (task.file_name, task.file_size_bytes) == ("talk.mp3", 5)
    # Its hint leaves after the commit, with no further change of the row.
    assert task.dispatched_at is not None


def test_an_upload_in_memory_is_written(no_hints):
    upload = SimpleUploadedFile("a.wav", b"sound")

    task = submit_upload(UserFactory(), upload, TaskRequest())

    assert TaskFiles(task.public_id).original.read_bytes() == b"sound"


@pytest.mark.django_db(transaction=True)
def test_the_hint_leaves_after_the_commit(make_upload, no_hints):
    task = submit_upload(UserFactory(), make_upload(b"sound"), TaskRequest())

    assert no_hints == [task.pk]


@pytest.mark.django_db(transaction=True)
def test_a_hint_that_fails_does_not_fail_the_request(make_upload, monkeypatch, caplog):
    def fail(task: TranscriptionTask) -> bool:
        raise RuntimeError("no")

    monkeypatch.setattr("transcription.services.held_tasks.TASKS.send_marked", fail)

    submit_upload(UserFactory(), make_upload(b"sound"), TaskRequest())

    assert TranscriptionTask.objects.count() == 1
    assert "on_commit" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_submission_wakes_a_media_worker(broker, make_upload):
    request = TaskRequest(priority="high")

    task = submit_upload(UserFactory(), make_upload(b"sound"), request)

    (hint,) = broker.hints("prepare.high")
    assert (hint.args, hint.id) == (["prepare.high"], f"{task.public_id}-p1")


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_the_dispatcher_sends_the_hint_later(make_upload):
    first, second = (
        submit_upload(UserFactory(), make_upload(b"sound"), TaskRequest())
        for _ in range(2)
    )

    # The first finds out, the second is told so.
    assert breaker.is_open()
    for task in (first, second):
        task.refresh_from_db()
        assert (task.status, task.dispatched_at) == ("preparing", None)


def test_no_row_means_no_file(make_upload, no_hints, media_root, monkeypatch):
    def fail(**values: object) -> None:
        raise DatabaseError("no")

    monkeypatch.setattr(TranscriptionTask.objects, "create", fail)

    with pytest.raises(DatabaseError):
        submit_upload(UserFactory(), make_upload(b"sound"), TaskRequest())

    assert list(storage.current().tasks()) == []
    assert no_hints == []


def test_the_file_stays_when_the_database_is_lost_at_the_commit(
    make_upload, no_hints, monkeypatch
):
    owner = UserFactory()
    insert = submission._insert

    def commit_without_an_answer(*args, **columns):
        insert(*args, **columns)
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(submission, "_insert", commit_without_an_answer)

    with pytest.raises(InterfaceError):
        submit_upload(owner, make_upload(b"bytes"), TaskRequest())

    task = TranscriptionTask.objects.get()
    assert TaskFiles(task.public_id).original.read_bytes() == b"bytes"


def test_no_file_means_no_row(make_upload, no_hints, monkeypatch):
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    upload = make_upload(b"sound")
    monkeypatch.setattr(type(storage.current()), "keep", fail)

    with pytest.raises(OSError, match="No space"):
        submit_upload(UserFactory(), upload, TaskRequest())

    assert not TranscriptionTask.objects.exists()
    assert list(storage.current().tasks()) == []


@pytest.mark.parametrize(
    ("content", "request_", "error"),
    [
        (b"", TaskRequest(), EmptyUploadError),
        (b"x" * 11, TaskRequest(), UploadTooLargeError),
        (b"x", TaskRequest(model="nobody-serves-this"), UnknownModelError),
        (
            b"x",
            TaskRequest(model="other", options={"hotwords": "a"}),
            UnsupportedOptionError,
        ),
    ],
    ids=["empty", "too large", "model", "option"],
)
def test_a_refused_upload_leaves_nothing(
    make_upload, no_hints, settings, media_root, content, request_, error
):
    settings.MAX_UPLOAD_BYTES = 10
    SlotFactory(model="other", engine="openai-whisper")

    with pytest.raises(error):
        submit_upload(UserFactory(), make_upload(content), request_)

    assert not TranscriptionTask.objects.exists()
    assert not (media_root / "tasks").exists()
    assert no_hints == []


@pytest.mark.parametrize(
    ("name", "allowed", "told"),
    [
        ("talk.wav", ("mp3", "m4a"), "type .wav. It accepts: mp3, m4a. Convert"),
        ("TALK.MP4", ("audio",), "type .mp4. It accepts: audio."),
        ("list.m3u8", ("audio", "video"), "It is a playlist"),
        ("song.mid", ("audio", "video"), "rename the file"),
        ("song.kar", ("mp3",), "It holds notes"),
    ],
)
def test_an_upload_with_a_refused_extension_leaves_nothing(
    make_upload, no_hints, settings, media_root, name, allowed, told
):
    settings.ALLOWED_TYPES = AllowedTypes(allowed)
    upload = make_upload(b"sound")
    upload.name = name

    with pytest.raises(TypeNotAllowedError) as caught:
        submit_upload(UserFactory(), upload, TaskRequest())

    assert told in caught.value.message
    assert not TranscriptionTask.objects.exists()
    assert not (media_root / "tasks").exists()
    assert no_hints == []


@pytest.mark.parametrize("name", ["a.mp3", "talk", "Talk 12.30", "a.bin", ".wav"])
def test_a_name_that_says_nothing_is_left_to_the_content(
    make_upload, no_hints, settings, name
):
    settings.ALLOWED_TYPES = AllowedTypes(("mp3",))
    upload = make_upload(b"sound")
    upload.name = name

    assert submit_upload(UserFactory(), upload, TaskRequest()).file_name == name


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("talk.mp3", "talk.mp3"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\me\talk.mp3", "talk.mp3"),
        ("a\x00b\n.mp3", "ab.mp3"),
        ("\u202egpj.mp3", "gpj.mp3"),
        ("录音 1.m4a", "录音 1.m4a"),
        ("x" * 300, "x" * 255),
        (None, ""),
        ("", ""),
    ],
)
def test_a_clients_file_name_is_a_label_only(name, label):
    assert clean_file_name(name) == label


def test_without_a_limit_an_upload_of_any_size_is_taken(
    make_upload, no_hints, settings, media_root
):
    settings.MAX_UPLOAD_BYTES = None

    task = submit_upload(UserFactory(), make_upload(b"sound" * 1000), TaskRequest())

    assert task.file_size_bytes == 5000
