"""What clients see of a callback, its attempts, and the secrets that sign it."""

from __future__ import annotations

from collections.abc import Sequence

from transcription.documents.encoding import Document, iso_timestamp
from transcription.documents.links import callback_links
from transcription.models import Callback, CallbackAttempt, CallbackSecret


def callback_document(callback: Callback, *, site: str) -> Document:
    """An event on its way to a receiver (`CallbackSerializer` describes it).

    Args:
        callback: the row; its task is read, if it has one.
        site: what the links begin with; see `documents.links`.
    """
    task = callback.task
    pending = callback.state == Callback.State.PENDING
    return {
        "id": str(callback.public_id),
        "event": callback.event,
        "task": None if task is None else str(task.public_id),
        "callback_url": callback.url,
        "callback_header_names": sorted(callback.headers),
        "state": callback.state,
        "attempt_count": callback.attempts,
        "http_status": callback.http_status,
        "error_code": callback.error_code,
        "created_at": iso_timestamp(callback.created_at),
        "next_attempt_at": iso_timestamp(callback.next_attempt_at) if pending else None,
        "ended_at": iso_timestamp(callback.ended_at),
        "links": callback_links(callback.public_id, site=site),
    }


def callback_detail_document(callback: Callback, *, site: str) -> Document:
    """An event with all that was tried (`CallbackDetailSerializer` describes it).

    The rows of its attempts are read.
    """
    return {
        **callback_document(callback, site=site),
        "attempts": [attempt_document(attempt) for attempt in callback.history.all()],
    }


def attempt_document(attempt: CallbackAttempt) -> Document:
    """One try to deliver a callback (`CallbackAttemptSerializer` describes it)."""
    return {
        "number": attempt.number,
        "started_at": iso_timestamp(attempt.started_at),
        "duration_seconds": attempt.duration_seconds,
        "http_status": attempt.http_status,
        "error_code": attempt.error_code,
    }


def secret_document(valid: Sequence[CallbackSecret]) -> Document:
    """What signs an owner's callbacks (`CallbackSecretSerializer` describes it).

    Args:
        valid: the secrets that sign, the newest first; of the others only their
            beginning is shown.
    """
    newest, *former = valid
    return {
        "secret": newest.secret,
        "created_at": iso_timestamp(newest.created_at),
        "former": [
            {
                "prefix": secret.prefix,
                "created_at": iso_timestamp(secret.created_at),
                "expires_at": iso_timestamp(secret.expires_at),
            }
            for secret in former
        ],
    }
