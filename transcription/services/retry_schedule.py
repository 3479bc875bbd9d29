"""When a callback that was not delivered is tried again."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils.http import parse_http_date_safe

# Each wait is off by up to this share, so that what failed together comes apart.
JITTER: Final = 0.2
# A receiver that names a later moment than this is asked after this time.
LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0


def delay_after(failures: int, *, at_least_seconds: float = 0.0) -> timedelta | None:
    """How long to wait after so many attempts that failed.

    Args:
        failures: at least 1.
        at_least_seconds: what the receiver asked for. The schedule may wait longer: its
            few attempts have to last for days, whatever a receiver says each time.

    Returns:
        None if that was the last attempt.
    """
    delays = settings.CALLBACK_DELAYS
    if failures > len(delays):
        return None
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (no secret)
    return timedelta(seconds=max(delays[failures - 1] * spread, at_least_seconds))


def retry_after_seconds(header: str) -> float:
    """What a Retry-After header asks for, within bounds; 0 if it says nothing.

    Args:
        header: a number of seconds or a date.
    """
    if header.isascii() and header.isdigit():
        seconds = float(header[:10])
    else:
        moment = parse_http_date_safe(header)
        seconds = 0.0 if moment is None else moment - time.time()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)
