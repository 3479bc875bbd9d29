"""Cursors of lists: the place of a row, encrypted so that clients learn nothing of it.

A row's number counts the rows of all owners, so a client must not see it. AES-SIV (RFC
5297) encrypts and authenticates without a nonce: a cursor needs no state, and the same
place always has the same cursor.
"""

from __future__ import annotations

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.utils.crypto import salted_hmac

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
# Microseconds since the epoch, and the row's number.
PLACE: Final = struct.Struct(">qQ")
KEY_SALT: Final = "whisperhub.api.cursors"


class BadCursorError(ValueError):
    """The text is not a cursor of this server, or belongs to another ordering."""


def seal(ordering: str, moment: datetime, row_id: int) -> str:
    """Make the cursor of a row.

    Args:
        ordering: of the list; the cursor is valid for this ordering only.
        moment: what the list is ordered by.
        row_id: decides between rows of the same moment.
    """
    place = PLACE.pack((moment - EPOCH) // MICROSECOND, row_id)
    sealed = _cipher().encrypt(place, [ordering.encode()])
    return _text(sealed)


def unseal(ordering: str, cursor: str) -> tuple[datetime, int]:
    """Read moment and row number from a cursor.

    Raises:
        BadCursorError: see there.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
        if _text(sealed) != cursor:
            # The last character has bits that say nothing.
            raise BadCursorError
        place = _cipher().decrypt(sealed, [ordering.encode()])
        microseconds, row_id = PLACE.unpack(place)
    except (ValueError, binascii.Error, InvalidTag, struct.error) as error:
        raise BadCursorError from error
    return EPOCH + microseconds * MICROSECOND, row_id


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _cipher() -> AESSIV:
    """The cipher under a key of 256 bits derived from SECRET_KEY."""
    return AESSIV(salted_hmac(KEY_SALT, "key", algorithm="sha256").digest())
