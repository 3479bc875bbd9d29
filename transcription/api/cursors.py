"""Cursors of lists: the place of a row, encrypted so that clients learn nothing of it.

A row's number counts the rows of all owners, so a client must not see it. The place is
encrypted with a synthetic initialization vector (the SIV construction): a keyed digest
of the place authenticates it, and is also what its key stream is derived from. So a
cursor needs no state, and any change of it is noticed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils.crypto import salted_hmac

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
# Microseconds since the epoch, and the row's number.
PLACE: Final = struct.Struct(">qQ")
TAG_BYTES: Final = 16
DIGEST: Final = "sha256"
# Two keys, both derived from SECRET_KEY.
TAG_KEY: Final = "transcription.api.cursors.tag"
STREAM_KEY: Final = "transcription.api.cursors.stream"


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
    tag = _tag(ordering, place)
    sealed = tag + _encrypted(tag, place)
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def unseal(ordering: str, cursor: str) -> tuple[datetime, int]:
    """Read moment and row number from a cursor.

    Raises:
        BadCursorError: see there.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadCursorError from error
    if len(sealed) != TAG_BYTES + PLACE.size:
        raise BadCursorError
    tag, encrypted = sealed[:TAG_BYTES], sealed[TAG_BYTES:]
    place = _encrypted(tag, encrypted)
    if not hmac.compare_digest(tag, _tag(ordering, place)):
        raise BadCursorError
    microseconds, row_id = PLACE.unpack(place)
    return EPOCH + microseconds * MICROSECOND, row_id


def _tag(ordering: str, place: bytes) -> bytes:
    made = salted_hmac(TAG_KEY, place + ordering.encode(), algorithm=DIGEST)
    return made.digest()[:TAG_BYTES]


def _encrypted(tag: bytes, place: bytes) -> bytes:
    """Encrypt a place, or decrypt it: the same operation."""
    stream = salted_hmac(STREAM_KEY, tag, algorithm=DIGEST).digest()
    return bytes(left ^ right for left, right in zip(place, stream, strict=False))
