"""Links in the prepare stage, with real servers, media and engines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.signals import worker_process_init
from django.db import OperationalError, connection

from tests.integration import steps
from tests.support.factories import TaskFactory
from tests.support.media_files import make_tone, write_audio, write_wav
from tests.support.receivers import answering, hanging_up, silent
from tests.support.stored_files import ON_DISK, TaskFiles
from tests.support.upstreams import (
    HEAD_OF_ENDLESS,
    Upstream,
    dripping_forever,
    file,
    make_certificate,
    pouring,
    raw,
    redirecting,
    running_upstream,
)
from tests.support.waiting import patient, wait_for
from transcription.accuracy import word_error_rate
from transcription.engines import demo_model
from transcription.media.types import AllowedTypes
from transcription.models import TranscriptionTask
from transcription.services import cancellation, events, progress
from transcription.services.submission import Link, TaskRequest, submit_link
from transcription.services.transitions import recording
from transcription.services.transitions.changes import Outcome
from transcription.tasks import listen_in_media_worker
from transcription.work.heartbeat import heartbeat

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

ENGLISH = next(s for s in demo_model.samples() if s.language == "en")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def quiet_heart(monkeypatch) -> None:
    """The heart beats when a test says so, not in a thread of its own."""
    monkeypatch.setattr(type(heartbeat), "_start", lambda self: None)


@pytest.fixture
def linked(
    quiet_heart: None, no_hints: list[int], each_storage: None
) -> Callable[..., Any]:
    """Make a task of a link."""

    def make(url: str, **values: Any) -> Any:
        return TaskFactory(source="link", file_url=url, **values)

    return make


@pytest.fixture
def tone(tmp_path) -> bytes:
    """A second of sound."""
    return write_wav(tmp_path / "tone.wav", make_tone(1.0)).read_bytes()


def prepare(task: Any) -> Outcome | None:
    """Prepare it, as if the time of its next attempt had come."""
    TranscriptionTask.objects.filter(pk=task.pk).update(not_before=None)
    outcome = steps.prepare(task.pk, owner="media@tests/1")
    task.refresh_from_db()
    return outcome


# --- Files that come -----------------------------------------------------------------


def test_the_speech_at_a_link_becomes_text(upstream, linked, engine):
    upstream.then(redirecting("/signed/0817"))
    upstream.always(
        file(
            ENGLISH.path.read_bytes(),
            Content_Type="binary/octet-stream",
            Content_Disposition="attachment; filename*=UTF-8''..%2fmy%20talk.wav",
        )
    )
    task = linked(f"{upstream.origin}/talk?key=1")

    assert prepare(task) is Outcome.QUEUED

    files = TaskFiles(task.public_id)
    assert (task.status, task.file_name) == ("queued", "my talk.wav")
    assert task.file_size_bytes == ENGLISH.path.stat().st_size
    assert files.original.read_bytes() == ENGLISH.path.read_bytes()
    assert task.progress == 0, "what comes now is measured anew"

    outcome = steps.execute(task.pk, engine=engine, owner="slot")

    task.refresh_from_db()
    assert outcome is Outcome.COMPLETED
    assert word_error_rate(ENGLISH.texts["en"], task.transcript.text) < 0.3
    assert not files.exist()


def test_the_body_is_judged_and_not_what_the_server_calls_it(
    upstream, linked, tone, tmp_path
):
    sound = write_audio(tmp_path / "a.mp3", make_tone(1.0), "mp3").read_bytes()
    upstream.then(file(sound, Content_Type="text/html"))
    upstream.then(file(b"<html>Log in</html>", Content_Type="audio/mpeg"))
    good, bad = linked(f"{upstream.origin}/a.exe"), linked(f"{upstream.origin}/b.mp3")

    assert [prepare(good), prepare(bad)] == [Outcome.QUEUED, Outcome.FAILED]

    assert (good.media_format, good.file_name) == ("mp3", "a.exe")
    assert bad.error_code == "web_page"
    assert "Log in" not in bad.error_message


def test_the_type_of_a_links_file_is_judged_by_its_content(
    upstream, linked, tone, tmp_path, settings
):
    settings.ALLOWED_TYPES = AllowedTypes(("mp3",))
    sound = write_audio(tmp_path / "a.mp3", make_tone(1.0), "mp3").read_bytes()
    upstream.then(file(sound))
    upstream.then(file(tone))
    good, bad = linked(f"{upstream.origin}/a.php"), linked(f"{upstream.origin}/b.mp3")

    assert [prepare(good), prepare(bad)] == [Outcome.QUEUED, Outcome.FAILED]

    assert bad.error_code == "type_not_allowed"


def test_an_empty_file_is_no_media(upstream, linked):
    upstream.always(file(b""))
    task = linked(upstream.origin)

    assert prepare(task) is Outcome.FAILED
    assert task.error_code == "invalid_media"


def test_a_file_over_tls(linked, tone, tmp_path, settings):
    certificate = make_certificate(tmp_path, "127.0.0.1")
    settings.OUTGOING_AUTHORITIES = certificate
    with running_upstream(certificate=certificate) as upstream:
        upstream.always(file(tone))

        assert prepare(linked(upstream.origin)) is Outcome.QUEUED


def test_the_share_that_has_come_is_shown(upstream, linked, tone, monkeypatch):
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.0)
    shown: list[tuple[float, int]] = []
    half, go_on = len(tone) // 2, threading.Event()

    def halves(connection: Any, closed: threading.Event) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(tone)}\r\n\r\n"
        connection.sendall(head.encode() + tone[:half])
        go_on.wait(patient(10))
        connection.sendall(tone[half:])

    record = recording.record_fetch

    def note(lease: Any, share: float, **values: Any) -> None:
        record(lease, share, **values)
        row = TranscriptionTask.objects.get()
        shown.append((row.progress, row.file_size_bytes or 0))
        if shown[-1][1] >= half:
            go_on.set()

    monkeypatch.setattr(recording, "record_fetch", note)
    upstream.always(halves)

    assert prepare(linked(upstream.origin)) is Outcome.QUEUED

    assert any(share == pytest.approx(half / len(tone)) for share, _ in shown)
    assert shown == sorted(shown)
    assert shown[-1] == (1.0, len(tone))


def test_a_database_that_is_away_does_not_end_a_download(
    upstream, linked, tone, monkeypatch
):
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(progress, "will_pass", lambda error: True)
    monkeypatch.setattr(connection, "close", lambda: None)
    record, calls = recording.record_fetch, []

    def fail_first(*args: Any, **values: Any) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise OperationalError
        record(*args, **values)

    monkeypatch.setattr(recording, "record_fetch", fail_first)
    upstream.always(file(tone))

    assert prepare(linked(upstream.origin)) is Outcome.QUEUED
    assert len(calls) == 2, "the next try comes later; the end is always noted"


# --- Files that do not come ----------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (answering(404), "not_found"),
        (answering(410), "not_found"),
        (answering(401), "forbidden"),
        (answering(403), "forbidden"),
        (answering(204), "bad_answer"),
        (file(b"x" * 2000), "too_large"),
        (pouring(HEAD_OF_ENDLESS, 5), "too_large"),
        (file(b"x", Content_Encoding="gzip"), "bad_answer"),
        (redirecting("ftp://example.org/a"), "bad_redirect"),
        (redirecting("/again"), "bad_redirect"),
        (redirecting("http://169.254.169.254/latest/"), "blocked_address"),
    ],
    ids=[
        *("404", "410", "401", "403", "204", "large", "endless", "gzip"),
        *("to ftp", "in circles", "to metadata"),
    ],
)
def test_what_another_attempt_would_not_mend_fails_at_once(
    upstream, linked, settings, behaviour, code
):
    settings.MAX_LINK_BYTES = 1000
    upstream.always(behaviour)
    task = linked(upstream.origin)

    assert prepare(task) is Outcome.FAILED

    assert (task.status, task.error_code, task.attempts) == ("failed", code, 1)
    assert not TaskFiles(task.public_id).exist()


def test_a_link_to_a_web_page_says_so(upstream, linked):
    upstream.always(file(b"<!doctype html><html><body>Sign in</body></html>"))
    task = linked(upstream.origin)

    assert prepare(task) is Outcome.FAILED

    assert (task.error_code, task.attempts) == ("web_page", 1)
    assert "Give the direct address" in task.error_message


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (hanging_up, "network"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "interrupted"),
        (answering(500), "upstream_error"),
        (answering(503), "upstream_error"),
        (answering(429), "rate_limited"),
        (silent, "timeout"),
        (dripping_forever, "timeout"),
    ],
    ids=["gone", "short", "500", "503", "429", "silent", "drip"],
)
def test_what_may_pass_is_tried_again_and_then_fails(
    upstream, linked, settings, behaviour, code
):
    settings.MAX_ATTEMPTS = 2
    settings.LINK_SECONDS = 0.3 if code == "timeout" else 30
    upstream.always(behaviour)
    task = linked(upstream.origin)

    first = prepare(task)
    assert (task.status, task.error_code) == ("preparing", code)
    assert task.not_before is not None
    assert not TaskFiles(task.public_id).names()
    second = prepare(task)

    assert [first, second] == [Outcome.RETRIED, Outcome.FAILED]
    assert (task.status, task.error_code, task.attempts) == ("failed", code, 2)
    assert len(upstream.received) == 2
    assert not TaskFiles(task.public_id).exist()


@pytest.mark.parametrize(
    ("asked", "waited"), [("600", 600), ("0", 5), ("86400", 3600), ("soon", 5)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_is_left_alone_as_long_as_it_asks(
    upstream, linked, status, asked, waited
):
    upstream.always(answering(status, Retry_After=asked))
    task = linked(upstream.origin)

    assert prepare(task) is Outcome.RETRIED

    # Both by the database's clock; the schedule's own wait is up to a quarter longer.
    waits = task.not_before - task.preparation_started_at
    assert waited - 0.1 <= waits.total_seconds() <= 1.25 * waited + 5


def test_a_retry_begins_with_a_fresh_file(upstream, linked, tone):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(tone)}\r\n\r\n".encode()
    upstream.then(raw(head, b"#" * 1000))
    upstream.always(file(tone))
    task = linked(upstream.origin)

    assert [prepare(task), prepare(task)] == [Outcome.RETRIED, Outcome.QUEUED]

    assert TaskFiles(task.public_id).original.read_bytes() == tone
    assert (task.error_code, task.error_message) == ("", "")


def test_a_file_that_came_whole_is_not_fetched_again(upstream, linked, tone):
    upstream.always(file(tone))
    task = linked(upstream.origin)
    files = TaskFiles(task.public_id)
    files.create()
    files.original.write_bytes(tone)

    assert prepare(task) is Outcome.QUEUED
    assert not upstream.received


@ON_DISK
def test_what_a_killed_worker_had_written_goes(upstream, linked, tone):
    upstream.always(file(tone))
    task = linked(upstream.origin)
    files = TaskFiles(task.public_id)
    files.create()
    (files.path / "original.0817.part").write_bytes(b"half of it")

    assert prepare(task) is Outcome.QUEUED

    assert files.names() == ["original", "samples.s16le"]


@pytest.mark.parametrize("body", [b"root:x:0:0", b"<h1>secret-page</h1>"])
@pytest.mark.parametrize("status", [200, 403, 500])
def test_nothing_that_the_other_server_sent_is_told(
    upstream, linked, caplog, body, status
):
    caplog.set_level("DEBUG")
    upstream.always(answering(status, body, X_Secret="secret-header"))
    task = linked(f"{upstream.origin}/path?token=secret-token")

    prepare(task)

    told = f"{task.error_code} {task.error_message} {caplog.text}"
    assert str(task.public_id) in told
    for secret in (body.decode(), "secret"):
        assert secret not in told
    if status != 200:
        assert str(status) in task.error_message


def test_a_nearly_full_volume_takes_nothing(upstream, linked, tone, settings):
    settings.MIN_FREE_BYTES = 2**60
    upstream.always(file(tone))
    task = linked(upstream.origin)

    assert prepare(task) is Outcome.RETRIED
    assert task.error_code == "storage_error"
    assert not upstream.received


def test_a_length_that_the_volume_cannot_take_is_not_waited_for(
    upstream, linked, settings, monkeypatch
):
    settings.MAX_LINK_BYTES = 2**62
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**61
    upstream.always(pouring(head, 400))
    task = linked(upstream.origin)

    assert prepare(task) is Outcome.RETRIED
    assert task.error_code == "storage_error"


# --- Stopped from outside ------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [dripping_forever, silent])
def test_a_cancelled_task_is_fetched_no_longer(upstream, linked, behaviour):
    upstream.always(behaviour)
    task = linked(upstream.origin)
    moments = []

    def cancel() -> None:
        """As the heartbeat does when it finds the wish in the row."""
        wait_for(lambda: upstream.received)
        moments.append(time.monotonic())
        with heartbeat._lock:
            (held,) = heartbeat._held.values()
        held.stop(held.cancel_requested)

    thread = threading.Thread(target=cancel)
    thread.start()
    outcome = prepare(task)
    thread.join()

    assert time.monotonic() - moments[0] < patient(2)
    assert outcome is Outcome.CANCELLED
    assert not TaskFiles(task.public_id).exist()


def test_a_worker_whose_lease_is_lost_stops_and_writes_nothing(upstream, linked):
    upstream.always(dripping_forever)
    task = linked(upstream.origin)

    def lose() -> None:
        wait_for(lambda: upstream.received)
        with heartbeat._lock:
            (held,) = heartbeat._held.values()
        held.stop(held.lost)

    thread = threading.Thread(target=lose)
    thread.start()
    outcome = prepare(task)
    thread.join()

    assert outcome is Outcome.LOST
    assert task.status == "preparing"
    assert task.error_code == ""


# --- By processes of their own -------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_link_goes_the_whole_way_through_the_workers(
    upstream, fleet, django_user_model
):
    fleet.ensure_inference()
    upstream.then(answering(503), redirecting("/b"))
    upstream.always(file(ENGLISH.path.read_bytes()))
    owner = django_user_model.objects.create(username="linker")

    task = submit_link(owner, Link(f"{upstream.origin}/a.wav"), TaskRequest())

    def ended() -> bool:
        TranscriptionTask.objects.filter(pk=task.pk).update(not_before=None)
        task.refresh_from_db()
        return task.is_finished

    wait_for(ended, seconds=60, named=fleet.said)
    assert task.status == "completed", task.error_message
    assert [request.path for request in upstream.received] == ["/a.wav"] * 2 + ["/b"]


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_download_ends_in_its_worker(upstream, fleet, django_user_model):
    upstream.always(dripping_forever)
    owner = django_user_model.objects.create(username="linker")
    task = submit_link(owner, Link(f"{upstream.origin}/a.wav"), TaskRequest())
    wait_for(lambda: upstream.received, seconds=30, named=fleet.said)
    # Its lease is renewed meanwhile, for longer than one lease.
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 4, seconds=10)
    task.refresh_from_db()
    assert (task.status, task.losses) == ("preparing", 0)
    assert task.file_size_bytes

    assert cancellation.cancel_task(task)

    def ended() -> bool:
        task.refresh_from_db()
        return task.status == "cancelled"

    wait_for(ended, seconds=2, named=fleet.said)
    folder = fleet.media_root / "tasks"
    wait_for(lambda: not [path for path in folder.rglob("*") if path.is_file()])


def test_a_media_worker_listens_for_cancellations(monkeypatch):
    """Its heart beats too rarely to hear of them in time."""
    listening: list[Any] = []
    monkeypatch.setattr(events, "listen_for_stops", listening.append)

    assert listen_in_media_worker in [
        receiver() for _, receiver in worker_process_init.receivers
    ]
    listen_in_media_worker()

    assert listening == [heartbeat.beat]
