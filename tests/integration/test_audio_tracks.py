"""The option `audio_track`, from the request to the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration import steps
from tests.integration.api.conftest import TASKS, client_with
from tests.support.factories import ApiKeyFactory, TaskFactory
from tests.support.media_files import make_tone, write_tracks
from tests.support.stored_files import TaskFiles
from transcription.models import TranscriptionTask
from transcription.services.reuse import question_digest
from transcription.services.transitions import completion
from transcription.services.transitions.changes import Outcome

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("no_hints", "quiet_heart", "each_storage"),
]

TONE = make_tone(1.0)
OTHER = make_tone(1.0, seed=7)[::-1]


@pytest.fixture
def submitted(tmp_path: Path) -> Any:
    """Make a task whose media has an English and a German track."""

    def submit(**values: Any) -> Any:
        media = write_tracks(tmp_path / "a", TONE, OTHER, languages="eng ger")
        task = TaskFactory(**values)
        files = TaskFiles(task.public_id)
        files.create()
        files.original.write_bytes(media.read_bytes())
        return task

    return submit


def reload(task: Any) -> Any:
    return TranscriptionTask.objects.get(pk=task.pk)


@pytest.mark.parametrize(
    ("options", "taken"),
    [({}, 0), ({"audio_track": "1"}, 1), ({"audio_track": "de"}, 1)],
)
def test_the_wanted_track_is_prepared_and_all_are_shown(submitted, options, taken):
    task = submitted(options=options)

    assert steps.prepare(task.pk) is Outcome.QUEUED

    samples = np.frombuffer(TaskFiles(task.public_id).samples.read_bytes(), "<i2")
    assert np.array_equal(samples, (TONE, OTHER)[taken][:, 0])
    shown = (
        client_with(ApiKeyFactory(owner=task.owner).secret)
        .get(f"{TASKS}{task.public_id}/")
        .json()
    )
    assert [track["language"] for track in shown["audio_tracks"]] == ["eng", "ger"]
    assert [track["taken"] for track in shown["audio_tracks"]] == [
        taken == 0,
        taken == 1,
    ]


@pytest.mark.parametrize("wanted", ["2", "fr"])
def test_a_track_that_is_not_there_fails_the_task(submitted, wanted):
    task = submitted(options={"audio_track": wanted})

    assert steps.prepare(task.pk) is Outcome.FAILED

    row = reload(task)
    assert row.error_code == "no_such_track"
    assert "It has: 0 (eng), 1 (ger)." in row.error_message


def test_another_track_is_another_question():
    def digest(**options: Any) -> str:
        return question_digest(
            task_type="transcribe",
            engine="faster-whisper",
            model="demo",
            language="",
            options=options,
        )

    assert digest() != digest(audio_track="1") != digest(audio_track="2")


def test_a_copied_result_has_the_tracks_of_its_source():
    tracks = [{"index": 0, "taken": True}]
    task = TaskFactory(leased=True)
    source = TaskFactory(completed=True, owner=task.owner, audio_tracks=tracks)

    completion.complete_from(steps.lease_of(task), source.pk)

    assert reload(task).audio_tracks == tracks
