"""Log configuration: console and one rotating file, the request id in every line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from whisperhub.request_id import current_request_id

# Django logs each of them by its name, with a traceback through Django.
SUSPICIONS: Final = (
    "BadRequest",
    "DisallowedHost",
    "RequestDataTooBig",
    "SuspiciousFileOperation",
    "SuspiciousMultipartForm",
    "SuspiciousOperation",
    "TooManyFieldsSent",
    "TooManyFilesSent",
)
LINE = "%(asctime)s %(levelname)s %(name)s [%(process)d] [%(request_id)s] %(message)s"


class RequestIdFilter(logging.Filter):
    """Gives every record the id of the request that caused it, or a dash."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add `request_id` to the record and let it pass."""
        record.request_id = current_request_id.get() or "-"
        return True


class WithoutTraceback(logging.Filter):
    """Leaves the sentence of a record, for what anybody may cause from outside."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the traceback and let the record pass."""
        record.exc_info = record.exc_text = None
        return True


def logging_config(
    *, level: str, folder: Path | None, max_bytes: int, backup_count: int
) -> dict[str, Any]:
    """Build Django's LOGGING.

    Args:
        level: the least level that is written.
        folder: where whisperhub.log and its predecessors lie; None: console only.
        max_bytes: size at which the file is turned over.
        backup_count: how many turned-over files stay.
    """
    handlers: dict[str, Any] = {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["request_id"],
        }
    }
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        handlers["file"] = {
            # Web, workers and dispatcher write to one file; the standard rotating
            # handler loses lines when two processes turn it over at once.
            "class": "concurrent_log_handler.ConcurrentRotatingFileHandler",
            "filename": str(folder / "whisperhub.log"),
            "maxBytes": max_bytes,
            "backupCount": backup_count,
            "encoding": "utf-8",
            "formatter": "line",
            "filters": ["request_id"],
        }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "request_id": {"()": RequestIdFilter},
            "without_traceback": {"()": WithoutTraceback},
        },
        "formatters": {"line": {"format": LINE}},
        "handlers": handlers,
        "root": {"level": level, "handlers": list(handlers)},
        "loggers": {
            # Each of these reports every request or task; ours say it better.
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "faster_whisper": {"level": "WARNING"},
            "uvicorn.access": {"level": "WARNING"},
            # It asks workers that are still starting.
            "flower.inspector": {"level": "ERROR"},
            # A wrong Host, a form with a thousand fields.
            **{
                f"django.security.{error}": {"filters": ["without_traceback"]}
                for error in SUSPICIONS
            },
            "httpx": {"level": "WARNING"},
            # Its other messages hold addresses, which may hold a client's secrets.
            "urllib3": {"level": "ERROR"},
        },
    }
