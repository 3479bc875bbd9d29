"""Requests and answers as the API's documentation shows them.

A new operation gets an entry in `EXAMPLES`, or examples of its own where its view is;
examples of its errors are made from what its responses say of their codes.
"""

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
    "callback_header_names": [],
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
    "audio_tracks": [],
    "progress": {"share": 0.0, "seconds_done": None, "updated_at": None},
    "attempts": 0,
    "error": None,
    "notices": [],
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
    "audio_tracks": [
        {
            "index": 0,
            "language": "eng",
            "title": "",
            "codec": "mp3float",
            "channels": 2,
            "default": True,
            "taken": True,
        }
    ],
    "progress": {"share": 0.0, "seconds_done": 0.0, "updated_at": None},
    "queued_at": "2026-11-22T09:14:05.120441Z",
}
ENDED_AT: Final = "2026-11-22T09:14:41.906127Z"
NOTICE: Final[dict[str, Any]] = {
    "code": "audio_missing",
    "message": (
        "20.0 seconds of sound are missing in the file, from 61.5 s to 81.5 s; "
        "silence stands in their place."
    ),
    "details": {
        "seconds": 20.0,
        "count": 1,
        "places": [{"start": 61.5, "end": 81.5, "seconds": 20.0}],
    },
}


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
        "notices": [NOTICE],
        "inference_seconds": 36.41,
    },
)

TASK_ID: Final = TASK["id"]
CALLBACK_ADDRESS: Final = (
    "http://127.0.0.1:8000/api/v1/callbacks/c1a7b7f0-51f9-4ac7-b1a0-0c53f54ad7be/"
)
SEGMENT: Final[dict[str, Any]] = {
    "id": 0,
    "seek": 0,
    "start": 0.0,
    "end": 2.84,
    "text": " Good morning, and welcome to the show.",
    "tokens": [50364, 2205, 2446, 11, 293, 2928, 281, 264, 855, 13, 50506],
    "temperature": 0.0,
    "avg_logprob": -0.184,
    "compression_ratio": 0.93,
    "no_speech_prob": 0.012,
    "words": [
        {"word": " Good", "start": 0.0, "end": 0.32, "probability": 0.971},
        {"word": " morning,", "start": 0.32, "end": 0.78, "probability": 0.993},
    ],
}
MODEL_USED: Final[dict[str, Any]] = {
    "name": "large-v3",
    "revision": "edaa852ec7e145841d8ffdb056a99866b5f0a478",
    "engine": "faster-whisper",
    "device": "cuda:0",
    "compute_type": "float16",
}
RESULT: Final[dict[str, Any]] = {
    "id": TASK_ID,
    "task_type": "transcribe",
    "text": " Good morning, and welcome to the show.",
    "language": "en",
    "language_probability": 0.994,
    "duration": 600.0,
    "duration_after_vad": 571.3,
    "segments": [SEGMENT],
    "options": {"beam_size": 5, "word_timestamps": True},
    "model": MODEL_USED,
    "timings": {
        "preparation": 1.604,
        "queue": 0.057,
        "inference": 36.41,
        "total": 38.4,
    },
    "notices": [NOTICE],
}
PENDING: Final[dict[str, Any]] = {
    "id": TASK_ID,
    "status": "processing",
    "progress": {
        "share": 0.0047,
        "seconds_done": 2.84,
        "updated_at": "2026-11-22T09:14:06.310551Z",
    },
    "segments": [SEGMENT],
}
DETECTION: Final[dict[str, Any]] = {
    "id": TASK_ID,
    "language": "yue",
    "language_probability": 0.912,
    "language_probabilities": {"yue": 0.912, "zh": 0.081},
    "duration": 12.4,
    "model": MODEL_USED,
    "notices": [],
}
SRT: Final = (
    "1\n00:00:00,000 --> 00:00:02,840\nGood morning, and welcome to the show.\n"
)
VTT: Final = (
    "WEBVTT\n\n00:00:00.000 --> 00:00:02.840\nGood morning, and welcome to the show.\n"
)
CALLBACK: Final[dict[str, Any]] = {
    "id": "c1a7b7f0-51f9-4ac7-b1a0-0c53f54ad7be",
    "event": "task.completed",
    "task": TASK_ID,
    "callback_url": "https://hooks.example.org/transcripts",
    "callback_header_names": ["Authorization"],
    "state": "delivered",
    "attempt_count": 2,
    "http_status": 204,
    "error_code": "",
    "created_at": ENDED_AT,
    "next_attempt_at": None,
    "ended_at": "2026-11-22T09:14:47.218802Z",
    "links": {"self": CALLBACK_ADDRESS, "replay": f"{CALLBACK_ADDRESS}replay/"},
}
CALLBACK_DETAIL: Final[dict[str, Any]] = {
    **CALLBACK,
    "attempts": [
        {
            "number": 1,
            "started_at": "2026-11-22T09:14:42.003917Z",
            "duration_seconds": 0.121,
            "http_status": 503,
            "error_code": "",
        },
        {
            "number": 2,
            "started_at": "2026-11-22T09:14:47.102225Z",
            "duration_seconds": 0.098,
            "http_status": 204,
            "error_code": "",
        },
    ],
}
CALLBACK_PENDING: Final[dict[str, Any]] = {
    **CALLBACK_DETAIL,
    "state": "pending",
    "next_attempt_at": "2026-11-22T10:02:10.000000Z",
    "ended_at": None,
}
TEST_PENDING: Final[dict[str, Any]] = {
    **CALLBACK_PENDING,
    "event": "callback.test",
    "task": None,
    "attempt_count": 0,
    "http_status": None,
    "attempts": [],
}
SECRET: Final[dict[str, Any]] = {
    "secret": "whsec_TXkgc2VjcmV0IGhhcyB0aGlydHktdHdvIGJ5dGVzISE=",
    "created_at": "2026-11-20T08:00:00.000000Z",
    "former": [],
}
LIMITS: Final[dict[str, Any]] = {
    "requests_per_minute": 600,
    "audio_seconds_per_day": None,
    "unfinished_tasks": None,
    "highest_priority": "normal",
}
KEY: Final[dict[str, Any]] = {
    "id": "7d0b8d6a-0e0c-4c3b-9d6f-3f2a1e5c4b90",
    "owner": "ann",
    "name": "caption robot",
    "prefix": "whk_Zl3kPq8x",
    "scopes": ["read", "write"],
    "state": "active",
    "created_at": "2026-11-20T08:00:00.000000Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-11-22T09:14:00.000000Z",
    "replaced_by": None,
    "limits": dict.fromkeys(LIMITS),
}
NEW_KEY: Final[dict[str, Any]] = {
    **KEY,
    "last_used_at": None,
    "secret": "whk_Zl3kPq8xV0tYw2nB7sD4fG6hJ9kL1mN3pQ5rT8uW0xZ",
}
USED_TODAY: Final[dict[str, Any]] = {"audio_seconds": 5400.0, "tasks": 9}
USED_LATELY: Final[dict[str, Any]] = {"audio_seconds": 128_450.5, "tasks": 214}
USAGE: Final[dict[str, Any]] = {
    "owner": KEY["owner"],
    "key": KEY["id"],
    "limits": {
        "requests": {"limit": 600, "remaining": 588, "reset_seconds": 2},
        "audio_seconds": {
            "limit": 36_000,
            "used": USED_TODAY["audio_seconds"],
            "remaining": 30_600.0,
            "resets_at": "2026-11-23T00:00:00Z",
        },
        "unfinished_tasks": {"limit": None, "used": 3, "remaining": None},
        "highest_priority": "normal",
    },
    "used": {"today": USED_TODAY, "last_30_days": USED_LATELY},
    "used_by_owner": {
        "today": {"audio_seconds": 7260.0, "tasks": 12},
        "last_30_days": {"audio_seconds": 301_877.3, "tasks": 520},
    },
}
SERVED_MODEL: Final[dict[str, Any]] = {
    "name": "large-v3",
    "engine": "faster-whisper",
    "revision": MODEL_USED["revision"],
    "state": "ready",
    "slots": 2,
    "compute_types": ["float16"],
    "languages": ["en", "es", "yue", "zh"],
    "notice": "",
    "message": "",
}
FORM: Final = "multipart/form-data"
TASK_EVENT: Final[dict[str, Any]] = {
    "type": "task.completed",
    "timestamp": ENDED_AT,
    "data": {
        **TASK_COMPLETED.value,
        "progress": {
            **TASK_COMPLETED.value["progress"],
            "tasks_ahead": None,
            "estimated_finish_at": None,
        },
        "callback_url": CALLBACK["callback_url"],
        "callback_header_names": ["Authorization"],
        "result": RESULT,
    },
}
TEST_EVENT: Final[dict[str, Any]] = {
    "type": "callback.test",
    "timestamp": ENDED_AT,
    "data": {"message": "This is a test event. No task belongs to it."},
}


def asks(name: str, value: Any, media_type: str = "application/json") -> OpenApiExample:
    """The body of a request."""
    return OpenApiExample(name, value, request_only=True, media_type=media_type)


def answers(
    name: str, value: Any, status: int = 200, media_type: str = "application/json"
) -> OpenApiExample:
    """The body of an answer."""
    return OpenApiExample(
        name,
        value,
        response_only=True,
        status_codes=[str(status)],
        media_type=media_type,
    )


def tells(name: str, value: Any) -> OpenApiExample:
    """The body of a callback, for which the document swaps requests and answers."""
    return OpenApiExample(name, value, media_type="application/json")


UNFINISHED: Final = answers("Not finished yet", PENDING, 202)
LINK: Final = {"file_url": "https://media.example.org/talk.mp3"}
# By operationId.
EXAMPLES: Final[dict[str, list[OpenApiExample]]] = {
    "tasks_create": [
        asks("A link", {**LINK, "priority": "high", "word_timestamps": True}),
        asks(
            "A link, and an address to be told",
            {
                **LINK,
                "language": "zh",
                "callback_url": CALLBACK["callback_url"],
                "callback_headers": {"Authorization": "Bearer 2f6c1e"},
            },
        ),
        asks("A file", {"file": "talk.mp3", "model": "large-v3"}, FORM),
        answers("Accepted", {**TASK}, 201),
    ],
    "tasks_result": [answers("A transcript", RESULT), UNFINISHED],
    "tasks_subtitles": [
        answers("SubRip", SRT, media_type="application/x-subrip"),
        answers("WebVTT", VTT, media_type="text/vtt"),
        UNFINISHED,
    ],
    "tasks_callbacks": [answers("Delivered", CALLBACK_DETAIL)],
    "detect_language": [
        asks("A link", LINK),
        asks("A file", {"file": "talk.mp3"}, FORM),
        answers("Cantonese", DETECTION),
        answers("Not finished yet", {**PENDING, "segments": []}, 202),
    ],
    "models_list": [answers("One model", {"results": [SERVED_MODEL]})],
    "callbacks_list": [answers("Delivered", CALLBACK)],
    "callbacks_retrieve": [answers("Delivered", CALLBACK_DETAIL)],
    "callbacks_replay": [answers("Waiting", CALLBACK_PENDING, 202)],
    "callbacks_replay_undeliverable": [
        asks("Since yesterday", {"created_after": "2026-11-21T00:00:00Z"}),
        answers("Sent again", {"count": 17}, 202),
    ],
    "callbacks_send_test": [
        asks("To my receiver", {"callback_url": CALLBACK["callback_url"]}),
        answers("Waiting", TEST_PENDING, 202),
    ],
    "callbacks_secret": [answers("The secret", SECRET)],
    "callbacks_rotate_secret": [
        answers(
            "A new secret",
            {
                **SECRET,
                "former": [
                    {
                        "prefix": "whsec_QW5v",
                        "created_at": "2026-10-01T08:00:00.000000Z",
                        "expires_at": "2026-11-23T09:14:00.000000Z",
                    }
                ],
            },
        )
    ],
    "keys_list": [answers("In use", KEY)],
    "keys_create": [
        asks("For reading only", {"name": "dashboard", "scopes": ["read"]}),
        asks(
            "For half a year",
            {"name": "caption robot", "expires_at": "2027-05-22T00:00:00Z"},
        ),
        asks(
            "For another owner, with limits",
            {
                "owner": "bob",
                "name": "caption robot",
                "limits": {"audio_seconds_per_day": 36_000, "highest_priority": "low"},
            },
        ),
        answers("A new key", NEW_KEY, 201),
    ],
    "keys_retrieve": [answers("In use", KEY)],
    "keys_partial_update": [
        asks(
            "Fewer requests, and none before others",
            {"limits": {"requests_per_minute": 600, "highest_priority": "normal"}},
        ),
        asks(
            "The server's default again",
            {"limits": {"requests_per_minute": None}},
        ),
        answers("With limits", {**KEY, "limits": LIMITS}),
    ],
    "keys_usage": [answers("With a rate and a quota", USAGE)],
    "usage_retrieve": [answers("With a rate and a quota", USAGE)],
    "keys_revoke": [
        answers("Revoked", {**KEY, "state": "revoked", "revoked_at": ENDED_AT})
    ],
    "keys_rotate": [
        asks("With an hour of overlap", {"overlap_seconds": 3600}),
        answers("The new key", NEW_KEY, 201),
    ],
}
