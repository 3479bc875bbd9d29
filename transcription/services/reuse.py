"""A finished result answers the same question about the same media once more.

Only for the owner of the first task: to anybody else the speed of the answer would tell
what others have here.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any, Final

from transcription.database import despite_outages
from transcription.engines.options import DecodeOptions
from transcription.models import TranscriptionTask
from transcription.services import serving
from transcription.services.transitions import completion
from transcription.services.transitions.changes import Outcome
from transcription.work.heartbeat import HeldLease

logger = logging.getLogger(__name__)

# Results of the same question that are looked at, newest first: those of former
# revisions of the model may be among them.
MOST_CANDIDATES: Final = 20


def question_digest(
    *, task_type: str, engine: str, model: str, language: str, options: dict[str, Any]
) -> str:
    """What tells a question from others about the same media.

    Options that were left out count with their defaults, as these are now: when a
    release changes one, older results are those of another question.
    """
    decoding = DecodeOptions.from_dict(
        {**options, "language": language, "task": task_type}
    )
    asked = {"engine": engine, "model": model, **decoding.as_dict()}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def answer(task: TranscriptionTask, held: HeldLease) -> Outcome | None:
    """Complete a task in preparation with a result that is here already.

    Returns:
        What became of it; None if there is no such result.

    Raises:
        LeaseLostError: another process owns the task.
    """
    for pk in _candidates(task):
        outcome = held.apply(completion.complete_from, pk)
        if outcome is not None:
            logger.info("Task %s: has its result from another task", task.public_id)
            return outcome
    return None


@despite_outages
def _candidates(task: TranscriptionTask) -> list[int]:
    """Completed tasks of this owner with the same media, question and model."""
    revisions = serving.current_revisions(task.model, task.engine)
    if not task.media_sha256 or not revisions:
        return []
    same = TranscriptionTask.objects.filter(
        owner_id=task.owner_id,
        media_sha256=task.media_sha256,
        question_digest=task.question_digest,
        status=TranscriptionTask.Status.COMPLETED,
    )
    newest = same.order_by("-id").values_list("pk", "transcript__model")
    return [
        pk
        for pk, made_by in newest[:MOST_CANDIDATES]
        if made_by is not None and made_by.get("revision") in revisions
    ]
