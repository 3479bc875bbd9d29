"""The secrets that sign callbacks: made when first wanted, replaced without a gap.

An owner has one secret for all receivers. After a rotation the former one signs beside
the new one for a while, so that receivers may be told one after the other. Which of
several requests makes the next secret is decided by its number, which is unique.
"""

from __future__ import annotations

import base64
import logging
import secrets
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max, Q, QuerySet
from django.db.models.functions import Now

from transcription.database import after_now, despite_conflicts
from transcription.errors import TooManySecretsError
from transcription.models import CallbackSecret
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)

SECRET_MARK: Final = "whsec_"  # noqa: S105  (what every secret begins with)
SECRET_BYTES: Final = 32
# Each valid secret makes the header of a signature 50 bytes longer.
MOST_VALID: Final = 5


def secrets_of(owner_id: int) -> list[CallbackSecret]:
    """The valid secrets of an owner, the newest first; makes the first one."""
    if _has_newest(found := list(_valid(owner_id))):
        return found
    # Looked for once more after the number: one that was made in between has it.
    numbers = CallbackSecret.objects.filter(owner_id=owner_id)
    highest = numbers.aggregate(highest=Max("number"))["highest"] or 0
    if not _has_newest(list(_valid(owner_id))):
        _add(owner_id, number=highest + 1)
    return list(_valid(owner_id))


def _has_newest(valid: list[CallbackSecret]) -> bool:
    """Whether there is one that does not expire: an operator may have deleted it."""
    return bool(valid) and valid[0].expires_at is None


def rotate(owner_id: int) -> list[CallbackSecret]:
    """Make a new secret; the former ones stay valid for the overlap.

    Of several rotations at the same moment one makes the secret, and all return it.

    Returns:
        The valid secrets, the newest first.

    Raises:
        TooManySecretsError: former ones are all still valid.
    """
    valid = secrets_of(owner_id)
    if len(valid) >= MOST_VALID:
        raise TooManySecretsError(
            Sentence(
                "{count} secrets are valid still. Wait until the oldest expires.",
                count=MOST_VALID,
            )
        )
    _add(owner_id, number=valid[0].number + 1)
    return secrets_of(owner_id)


def delete_expired() -> int:
    """Forget the secrets whose overlap is over; returns how many."""
    return CallbackSecret.objects.filter(expires_at__lte=Now()).delete()[0]


def _valid(owner_id: int) -> QuerySet[CallbackSecret]:
    return CallbackSecret.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=Now()), owner_id=owner_id
    )


@despite_conflicts
def _add(owner_id: int, *, number: int) -> None:
    """Make the secret with this number, unless another process was first."""
    try:
        with transaction.atomic():
            CallbackSecret.objects.create(
                owner_id=owner_id, number=number, secret=_new_secret()
            )
            former = CallbackSecret.objects.filter(
                owner_id=owner_id, number__lt=number, expires_at=None
            )
            if overlap := _overlap():
                former.update(expires_at=after_now(overlap))
            else:
                # Now, and not with the next tick of the database's clock.
                former.delete()
    except IntegrityError:
        if not CallbackSecret.objects.filter(owner_id=owner_id, number=number).exists():
            raise
    else:
        logger.info("User %s: callback secret %d made", owner_id, number)


def _overlap() -> timedelta:
    return timedelta(seconds=settings.CALLBACK_SECRET_OVERLAP_SECONDS)


def _new_secret() -> str:
    return SECRET_MARK + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
