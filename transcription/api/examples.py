"""Tasks as the API's documentation shows them."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample

ADDRESS: Final = (
    "http://127.0.0.1:8000/api/v1/tasks/3f0a1c52-6f2b-4c8e-9a37-0d5a4be1c7a9/"
)
TASK: Final[dict[str, Any]] = {
    "id": "3f0a1c52-6f2b-4c8e-9a37-0d5a4be1c7a9",
    "status": "preparing",
    "priority": "normal",
    "effective_priority": "normal",
    "task_type": "transcribe",
    "engine": "faster-whisper",
    "model": "large-v3",
    "language": "",
    "detected_language": "",
    "options": {"word_timestamps": True},
    "platform": "podcast",
    "callback_url": "",
    "reuse": False,
    "reused_from": None,
    "source": "upload",
    "file_name": "talk.mp3",
    "file_url": "",
    "file_size_bytes": 9601358,
    "media": {
        "duration_seconds": None,
        "format": "",
        "audio_codec": "",
        "sample_rate": None,
        "channels": None,
        "has_video": None,
    },
    "progress": {"share": 0.0, "seconds_done": None, "updated_at": None},
    "attempts": 0,
    "error": None,
    "created_at": "2026-11-22T09:14:03.482913Z",
    "retried_at": None,
    "queued_at": None,
    "started_at": None,
    "finished_at": None,
    "cancel_requested_at": None,
    "can_retry": False,
    "retry_until": None,
    "inference_seconds": None,
    "links": {
        "self": ADDRESS,
        "result": f"{ADDRESS}result/",
        "subtitles": f"{ADDRESS}subtitles/",
    },
}
PREPARED: Final[dict[str, Any]] = {
    "media": {
        "duration_seconds": 600.0,
        "format": "mp3",
        "audio_codec": "mp3float",
        "sample_rate": 44_100,
        "channels": 2,
        "has_video": False,
    },
    "progress": {"share": 0.0, "seconds_done": 0.0, "updated_at": None},
    "queued_at": "2026-11-22T09:14:05.120441Z",
}
ENDED_AT: Final = "2026-11-22T09:14:41.906127Z"


def example(name: str, **changes: Any) -> OpenApiExample:
    """A task as an answer."""
    return OpenApiExample(name, {**TASK, **changes}, response_only=True)


TASK_PREPARING: Final = example("Preparing")
TASK_QUEUED: Final = example("Queued", status="queued", **PREPARED)
TASK_WAITING: Final = example(
    "Queued",
    **{
        **PREPARED,
        "status": "queued",
        "progress": {
            **PREPARED["progress"],
            "tasks_ahead": 3,
            "estimated_finish_at": "2026-11-22T09:16:30.000000Z",
        },
    },
)
TASK_CANCELLED: Final = example(
    "Cancelled", status="cancelled", cancel_requested_at=ENDED_AT, finished_at=ENDED_AT
)
TASK_COMPLETED: Final = example(
    "Completed",
    **{
        **PREPARED,
        "status": "completed",
        "detected_language": "en",
        "progress": {"share": 1.0, "seconds_done": 600.0, "updated_at": ENDED_AT},
        "attempts": 1,
        "started_at": "2026-11-22T09:14:05.177204Z",
        "finished_at": ENDED_AT,
        "inference_seconds": 36.41,
    },
)
