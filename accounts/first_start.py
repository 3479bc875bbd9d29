"""What a new installation begins with: an operator and an API key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from django.db import transaction

from accounts.models import ApiKey, User

OPERATOR: Final = "operator"


@dataclass(frozen=True)
class FirstCredentials:
    """Shown once, to the person at the console; only digests are stored."""

    username: str
    password: str
    api_key: str


def ensure_operator() -> tuple[User, FirstCredentials | None]:
    """Find the first superuser, or make one with a key.

    Returns:
        The operator, and the credentials if they were made by this call.
    """
    with transaction.atomic():
        operator = User.objects.filter(is_superuser=True).order_by("pk").first()
        if operator is not None:
            return operator, None
        password = secrets.token_urlsafe(12)
        operator = User.objects.create_superuser(OPERATOR, password=password)
        _, api_key = ApiKey.issue(operator, "first key")
    return operator, FirstCredentials(OPERATOR, password, api_key)
