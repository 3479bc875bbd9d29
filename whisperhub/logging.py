"""Log configuration: console and one rotating file, the request id in every line."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final

from whisperhub.web.request_id import current_request_id

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
INDENT: Final = " " * 4
# What a terminal obeys, what some programs take for the end of a line, what turns the
# direction of text around, and what UTF-8 cannot write.
UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(line: str) -> str:
    """A line as it may stand in a log: control characters as Python writes them."""
    return UNSAFE.sub(lambda found: ascii(found[0])[1:-1], line)


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


class LineFormatter(logging.Formatter):
    """Makes a line of each record, so that no message can forge another record.

    Only tracebacks have more lines, which are indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Escape what a record holds."""
        line, *traceback = super().format(record).split("\n")
        return "\n".join([line, *(INDENT + escaped(below) for below in traceback)])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Escape the message, before a traceback follows it."""
        return escaped(super().formatMessage(record))


LOGGERS: Final[dict[str, Any]] = {
    # It has handlers of its own, whose lines may be forged.
    "uvicorn": {"handlers": [], "propagate": True},
    # Each of these reports every request or task; ours say it better.
    "celery.app.trace": {"level": "WARNING"},
    "celery.worker.strategy": {"level": "WARNING"},
    "faster_whisper": {"level": "WARNING"},
    "uvicorn.access": {
        "level": "WARNING",
        "handlers": [],
        "propagate": True,
    },
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
}


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
        "formatters": {"line": {"()": LineFormatter, "fmt": LINE}},
        "handlers": handlers,
        "root": {"level": level, "handlers": list(handlers)},
        "loggers": LOGGERS,
    }
