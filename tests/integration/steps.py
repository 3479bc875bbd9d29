"""The steps of a task that tests take one by one, and the states to take them in."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from tests.support.factories import TaskFactory
from transcription.engines.base import Engine, ModelInfo, Segment, Transcription
from transcription.media.facts import DecodedAudio, MediaFacts
from transcription.models import TranscriptionTask
from transcription.services import execution, preparation, turns
from transcription.services.held_tasks import TASKS
from transcription.services.transitions import (
    cancelling,
    claims,
    completion,
    failure,
    lost_workers,
    priorities,
    recording,
    release,
    restart,
)
from transcription.services.transitions.changes import Outcome
from transcription.work.kinds import Lease

DECODED = DecodedAudio(
    facts=MediaFacts(
        format_name="matroska,webm",
        duration_seconds=4.0,
        has_video=True,
        audio_streams=1,
        audio_codec="opus",
        sample_rate=48_000,
        channels=2,
        bit_rate=None,
    ),
    sample_count=64_000,
    lead_in_seconds=0.0,
    undecodable_packets=0,
)
HEARD = Transcription(
    text="Hi.",
    language="en",
    language_probability=0.9,
    duration_seconds=4.0,
    duration_after_vad_seconds=3.0,
    segments=[Segment(0, 0, 0.0, 1.0, " Hi.", [1], 0.0, -0.1, 1.0, 0.0)],
    language_probabilities={"en": 0.9},
)
MODEL = ModelInfo("demo", "r1", "faster-whisper", "cpu", "int8", notice="small")


def lease_of(task: TranscriptionTask) -> Lease:
    """The lease that stands in the row, or one that never did."""
    return TASKS.lease(task.pk, task.lease_token or uuid.uuid4())


def finish_preparation(task: TranscriptionTask) -> Any:
    return completion.finish_preparation(lease_of(task), DECODED)


def complete(task: TranscriptionTask) -> None:
    completion.complete(lease_of(task), HEARD, model=MODEL, inference_seconds=1.5)


def fail(task: TranscriptionTask) -> Any:
    return failure.fail(lease_of(task), code="no_audio", message="No audio.")


def retry(task: TranscriptionTask) -> Any:
    return failure.retry_or_fail(
        lease_of(task), code="engine_error", message="The engine failed."
    )


def prepare(task_id: int, *, owner: str = "media@tests/1") -> Outcome | None:
    """Have a worker get the hint of a task that is alone in its lane."""
    served = preparation.prepare(_hinted(task_id), owner=owner)
    return served.outcome if served else None


def execute(
    task_id: int, *, engine: Engine, owner: str = "cpu-0@tests/1"
) -> Outcome | None:
    """The same for a task that is prepared."""
    served = execution.execute(_hinted(task_id), engine=engine, owner=owner)
    return served.outcome if served else None


def _hinted(task_id: int) -> str:
    """The lane of a task, after its hint is noted as sent."""
    TASKS.mark_dispatched(task_id)
    return turns.lane_of(TranscriptionTask.objects.get(pk=task_id))


def complete_from(task: TranscriptionTask) -> Any:
    source = TaskFactory(completed=True, owner=task.owner)
    return completion.complete_from(lease_of(task), source.pk)


STATES: dict[str, dict[str, Any]] = {
    "preparing": {},
    "preparing, leased": {"leased": True},
    "queued": {"queued": True},
    "processing": {"processing": True},
    "completed": {"completed": True},
    "failed": {"failed": True},
    "cancelled": {"cancelled": True},
}
STEPS: dict[str, Callable[[TranscriptionTask], Any]] = {
    "claim_preparation": lambda task: claims.claim_preparation(task.pk, owner="w"),
    "claim_inference": lambda task: claims.claim_inference(task.pk, owner="w"),
    "finish_preparation": finish_preparation,
    "complete": complete,
    "complete_from": complete_from,
    "fail": fail,
    "retry_or_fail": retry,
    "finish_cancelled": lambda task: cancelling.finish_cancelled(lease_of(task)),
    "hand_back": lambda task: release.hand_back(lease_of(task)),
    "postpone": lambda task: release.postpone(
        lease_of(task), code="no_room", message="No room.", seconds=60.0
    ),
    "record_progress": lambda task: recording.record_progress(lease_of(task), 0.5),
    "cancel": lambda task: cancelling.cancel(task.pk),
    "take_back": lambda task: lost_workers.take_back(
        task.pk, lease_of(task).token, only_expired=False
    ),
    "mark_dispatched": lambda task: TASKS.mark_dispatched(task.pk),
    "change_priority": lambda task: priorities.change_priority(task.pk, "low"),
    "start_again": lambda task: restart.start_again(task.pk),
    "raise_priority": lambda task: priorities.raise_priority(
        task.pk, former="normal", higher="high"
    ),
}
# A worker that holds a lease knows which stage it claimed: these have no caller.
MEANINGLESS = {
    ("preparing, leased", "complete"),
    ("processing", "finish_preparation"),
    ("processing", "complete_from"),
}
CASES = [
    (state, step)
    for state in STATES
    for step in STEPS
    if (state, step) not in MEANINGLESS
]
