"""A request that is sent twice with one key makes one task.

Clients send a request again when its answer was lost, and cannot know whether it was
the request that was. The unique key in the database decides, so that it holds for
requests that arrive at the same time, on several machines, and with the broker away.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import User
from transcription.errors import InvalidKeyError, KeyReusedError, KeySpentError
from transcription.models import IdempotencyKey, TranscriptionTask
from transcription.storage import sha256_of
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)

KEY_FORM: Final = re.compile(r"[ -~]{1,255}")
BATCH: Final = 500


@dataclass(frozen=True)
class KeyedRequest:
    """A request and its key, as far as they are compared with others."""

    owner: User
    key_digest: str
    request_digest: str


def identify(owner: User, key: str, asked: dict[str, Any]) -> KeyedRequest:
    """What tells a request from others with the same key.

    Args:
        owner: who asks; others may use the same key.
        key: as the client sent it.
        asked: everything, checked, with the address of the media or `facts_of` them;
            JSON values.

    Raises:
        InvalidKeyError: the key is empty, too long, or not printable ASCII.
    """
    if not KEY_FORM.fullmatch(key):
        raise InvalidKeyError(
            Sentence("An Idempotency-Key has 1 to 255 printable ASCII characters.")
        )
    return KeyedRequest(
        owner,
        hashlib.sha256(key.encode("ascii")).hexdigest(),
        hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
    )


def facts_of(upload: UploadedFile[Any]) -> dict[str, Any]:
    """What tells an upload from others."""
    return {
        "file_name": upload.name,
        "file_size_bytes": upload.size,
        "file_sha256": sha256_of(upload),
    }


def first_task(asked: KeyedRequest) -> TranscriptionTask | None:
    """The task that this request made before; None if its key is new.

    Raises:
        KeyReusedError: another request came with this key.
        KeySpentError: the same one did, and its task was deleted.
    """
    first = (
        _keys_of(asked)
        .filter(created_at__gt=Now() - _memory())
        .select_related("task")
        .first()
    )
    if first is None:
        return None
    if first.request_digest != asked.request_digest:
        raise KeyReusedError(
            Sentence(
                "Another request came with this Idempotency-Key. Use a new key for a "
                "new request."
            )
        )
    if first.task is None:
        raise KeySpentError(
            Sentence(
                "The task of this request was deleted. Use a new Idempotency-Key to "
                "submit it again."
            )
        )
    return first.task


def note(asked: KeyedRequest, task: TranscriptionTask) -> None:
    """Remember which task a request made; belongs in the transaction that makes it.

    Raises:
        IntegrityError: another request with this key was first.
    """
    _keys_of(asked).filter(created_at__lte=Now() - _memory()).delete()
    IdempotencyKey.objects.create(
        owner=asked.owner,
        key_digest=asked.key_digest,
        request_digest=asked.request_digest,
        task=task,
        created_at=Now(),
    )


def delete_expired_keys() -> int:
    """Forget the keys of requests that are long over; returns how many."""
    expired = IdempotencyKey.objects.filter(created_at__lte=Now() - _memory())
    deleted = 0
    while ids := list(expired.values_list("pk", flat=True)[:BATCH]):
        deleted += IdempotencyKey.objects.filter(pk__in=ids).delete()[0]
    return deleted


def _keys_of(asked: KeyedRequest) -> QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.filter(owner=asked.owner, key_digest=asked.key_digest)


def _memory() -> timedelta:
    return timedelta(seconds=settings.IDEMPOTENCY_SECONDS)
