"""Results that the database could not take yet, kept beside the samples of their task.

A transcript may be an hour of work. While the database is away it is a file, so that
the end of the process in the meantime costs nothing: who claims the task next finds it
and need not decode again. The file gives no right to anything. Whoever stores the
result needs the lease, as ever.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import Any, Final

from transcription import storage
from transcription.engines.base import ModelInfo, Segment, Transcription, Word
from transcription.models import TranscriptionTask
from transcription.notices import Notice
from transcription.storage import result_of

logger = logging.getLogger(__name__)

# Another form of the file gets another number; older files then count for nothing.
FORM: Final = 3


@dataclass(frozen=True)
class Result:
    """What a job leaves behind.

    Attributes:
        model: that made it; perhaps on another device than ours.
        inference_seconds: the engine's own time.
    """

    transcription: Transcription
    model: ModelInfo
    inference_seconds: float


def keep(task: TranscriptionTask, result: Result) -> None:
    """Write a result beside the samples; without success if the disk refuses."""
    content = json.dumps(
        {
            "form": FORM,
            "asked": _asked(task),
            "transcription": _as_dict(result.transcription),
            "model": asdict(result.model),
            "inference_seconds": result.inference_seconds,
        }
    ).encode()
    digest = hashlib.sha256(content).hexdigest().encode()
    try:
        # Refused if the task was deleted meanwhile.
        storage.current().write(result_of(task.public_id), digest + b"\n" + content)
    except OSError as error:
        logger.warning("Task %s: result not kept, %s", task.public_id, error.strerror)
        return
    logger.warning("Task %s: result kept until the database is back", task.public_id)


def find(task: TranscriptionTask, model: ModelInfo) -> Result | None:
    """The result that an earlier attempt could not store.

    Args:
        task: whose result.
        model: the one that would make it now; a result of another is none.
    """
    try:
        with storage.current().open(result_of(task.public_id)) as file:
            stored = file.read()
    except OSError:
        return None
    try:
        found = _parse(stored, task)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("Task %s: kept result ignored, %s", task.public_id, error)
        return None
    ours = (model.name, model.engine, model.revision)
    if (found.model.name, found.model.engine, found.model.revision) != ours:
        logger.info("Task %s: kept result is of another model", task.public_id)
        return None
    return found


def _parse(stored: bytes, task: TranscriptionTask) -> Result:
    digest, _, content = stored.partition(b"\n")
    if digest != hashlib.sha256(content).hexdigest().encode():
        raise ValueError("it is damaged")
    kept = json.loads(content)
    if kept["form"] != FORM:
        raise ValueError("another release wrote it")
    if kept["asked"] != _asked(task):
        raise ValueError("something else was asked")
    return Result(
        transcription=_transcription(kept["transcription"]),
        model=ModelInfo(
            **{**kept["model"], "languages": tuple(kept["model"]["languages"])}
        ),
        inference_seconds=kept["inference_seconds"],
    )


def _asked(task: TranscriptionTask) -> dict[str, Any]:
    """What decides on a result, beside the samples and the model."""
    return {
        "task_type": task.task_type,
        "language": task.language,
        "options": task.options,
        # A task that starts again may find another file behind its link.
        "media_sha256": task.media_sha256,
    }


def _as_dict(transcription: Transcription) -> dict[str, Any]:
    notices = [notice.as_dict() for notice in transcription.notices]
    return {**asdict(transcription), "notices": notices}


def _transcription(kept: dict[str, Any]) -> Transcription:
    segments = [
        Segment(
            **{
                **segment,
                "words": segment["words"]
                and [Word(**word) for word in segment["words"]],
            }
        )
        for segment in kept["segments"]
    ]
    notices = [Notice.from_dict(notice) for notice in kept["notices"]]
    return Transcription(**{**kept, "segments": segments, "notices": notices})
