"""A mixed load on real workers: everything ends, in order, with its own text.

TESTS_MANY_JOBS and TESTS_LONGEST_SECONDS make it a load worth the name: 200 and 600.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from tests.support.engines import JOBS_VARIABLE
from tests.support.factories import ApiKeyFactory, SlotFactory
from tests.support.fleet import START_SECONDS, Fleet
from tests.support.media_files import make_tone, write_audio
from tests.support.recordings import read_recording, to_wav
from tests.support.stored_files import TaskFiles
from tests.support.waiting import patient, wait_for
from transcription.audio import SAMPLE_RATE
from transcription.engines import demo_model
from transcription.engines.base import SilentListener
from transcription.engines.options import DecodeOptions
from transcription.models import TranscriptionTask, TranscriptPart, WorkerSlot
from whisperhub.queues import PRIORITIES

JOBS = int(os.environ.get("TESTS_MANY_JOBS", "24"))
LONGEST_SECONDS = float(os.environ.get("TESTS_LONGEST_SECONDS", "40"))
# Different recordings; each is sent several times.
RECORDINGS = 6
AT_ONCE = 8
PATIENCE_SECONDS = 180 + JOBS * LONGEST_SECONDS / 10

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(2 * patient(PATIENCE_SECONDS)),
]

Status = TranscriptionTask.Status


def make_recordings() -> list[Any]:
    """Speech in several languages with pauses, from a second to the longest."""
    rng = random.Random(1)
    spoken = [read_recording(sample.language) for sample in demo_model.samples()]
    made = []
    for number in range(RECORDINGS):
        seconds = LONGEST_SECONDS ** (number / (RECORDINGS - 1))
        parts: list[Any] = []
        while sum(map(len, parts)) < seconds * SAMPLE_RATE:
            parts.append(spoken[number % len(spoken)])
            parts.append(np.zeros(int(rng.uniform(0.3, 8) * SAMPLE_RATE), np.int16))
        made.append(np.concatenate(parts)[: int(seconds * SAMPLE_RATE)])
    return made


@pytest.fixture
def bad_files(tmp_path) -> list[tuple[bytes, str]]:
    """Files that cannot be transcribed, with the code each task fails with."""
    cut = write_audio(tmp_path / "a.m4a", make_tone(3.0), "m4a").read_bytes()
    return [
        (b"This is no music.\n" * 100, "invalid_media"),
        (to_wav(np.zeros(0, np.int16)), "no_audio"),
        (cut[: len(cut) // 2], "media_incomplete"),
    ]


@pytest.fixture
def busy_fleet(fleet: Fleet) -> Iterator[Fleet]:
    """Worker processes without an inference worker; its jobs will run side by side."""
    fleet.ensure_no_inference()
    fleet.environment[JOBS_VARIABLE] = str(AT_ONCE)
    yield fleet
    del fleet.environment[JOBS_VARIABLE]
    fleet.ensure_no_inference()


@pytest.fixture
def submit(busy_fleet: Fleet) -> Callable[..., Any]:
    """Send a file; returns its row's public id."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {ApiKeyFactory().secret}")

    def send(content: bytes, priority: str) -> str:
        data = {
            "file": SimpleUploadedFile("a.wav", content),
            "priority": priority,
            "temperature": "0",
            "beam_size": "1",
        }
        answer = client.post("/api/v1/tasks/", data, format="multipart")
        assert answer.status_code == 201, answer.content
        return str(answer.json()["id"])

    return send


@pytest.fixture
def two_slots(busy_fleet) -> Iterator[Callable[[], list[Any]]]:
    """Start two inference workers; both take jobs before either goes on."""
    made: list[Any] = []

    def start() -> list[Any]:
        with busy_fleet.held():
            busy_fleet.ensure_inference()
            made.append(busy_fleet.slot("second=cpu=demo", name="second"))
            wait_for(
                lambda: (
                    WorkerSlot.objects.filter(state="ready", pid__gt=1).count() == 2
                ),
                seconds=START_SECONDS,
                named=made[0].said,
            )
            processing = TranscriptionTask.objects.filter(status=Status.PROCESSING)
            wait_for(lambda: processing.count() >= min(JOBS // 2, 2 * AT_ONCE))
        return [busy_fleet.inference, made[0]]

    yield start
    for worker in made:
        worker.stop()


def test_every_job_of_a_mixed_load_ends_as_it_should(
    busy_fleet, two_slots, submit, bad_files, engine
):
    SlotFactory(model="demo")
    recordings = make_recordings()
    alone = [
        engine.transcribe(
            samples, DecodeOptions(temperature=(0.0,), beam_size=1), SilentListener()
        )
        for samples in recordings
    ]
    good = [(to_wav(s), text) for s, text in zip(recordings, alone, strict=True)]
    # One in eight is bad.
    load: list[Any] = [
        *islice(cycle(good), JOBS - JOBS // 8),
        *islice(cycle(bad_files), JOBS // 8),
    ]
    rng = random.Random(2)
    rng.shuffle(load)

    wanted = {
        submit(content, priority): (outcome, priority)
        for (content, outcome), priority in zip(load, cycle(PRIORITIES), strict=False)
    }
    tasks = TranscriptionTask.objects
    wait_for(
        lambda: not tasks.filter(status=Status.PREPARING).exists(),
        seconds=PATIENCE_SECONDS,
        named=lambda: f"The end of preparation, {busy_fleet.said()}",
    )
    workers = two_slots()
    wait_for(
        lambda: not tasks.exclude(status__in=TranscriptionTask.FINAL).exists(),
        seconds=PATIENCE_SECONDS,
        named=lambda: f"{states()}, {busy_fleet.said()}",
    )

    done = list(tasks.select_related("transcript"))
    assert len(done) == len(wanted) == JOBS
    for task in done:
        outcome, _ = wanted[str(task.public_id)]
        if isinstance(outcome, str):
            assert (task.status, task.error_code) == (Status.FAILED, outcome)
            continue
        assert task.status == Status.COMPLETED, task.error_message
        assert task.attempts == 1
        assert task.transcript.text == outcome.text
        assert task.transcript.language == outcome.language
    assert not TranscriptPart.objects.exists()
    wait_for(lambda: all(left_of(t) <= kept_of(t) for t in done))
    check_order([t for t in done if t.started_at])
    for worker in workers:
        assert "s of audio" in worker.log.read_text()


def left_of(task: TranscriptionTask) -> set[str]:
    """The files of a task."""
    return set(TaskFiles(task.public_id).names())


def kept_of(task: TranscriptionTask) -> set[str]:
    """Those that may be left: what failed may start again."""
    return {"original"} if task.status == Status.FAILED else set()


def states() -> Counter[str]:
    """How many tasks are in which state."""
    return Counter(TranscriptionTask.objects.values_list("status", flat=True))


def check_order(tasks: list[Any]) -> None:
    """Urgent ones started first, as far as several that start at once have an order."""
    started = sorted(tasks, key=lambda task: task.started_at)
    ranks = [PRIORITIES.index(task.priority) for task in started]
    for place, rank in enumerate(ranks):
        overtaken = sum(other < rank for other in ranks[place + 1 :])
        assert overtaken < 2 * AT_ONCE, ranks
