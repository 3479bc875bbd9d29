"""What the rows that a worker holds for a while have in common: the lease's columns.

Every moment in them comes from the database's clock, so that several machines agree.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.db.models import DurationField, ExpressionWrapper, Value
from django.db.models.functions import Now

NO_LEASE: Final[dict[str, Any]] = {
    "lease_token": None,
    "lease_owner": "",
    "lease_expires_at": None,
}


def after_now(delay: timedelta) -> Any:
    """An expression: the database's present plus a delay."""
    return Now() + ExpressionWrapper(Value(delay), output_field=DurationField())
