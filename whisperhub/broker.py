"""Where the broker is."""

from __future__ import annotations

from django.conf import settings


def broker_url() -> str:
    """What kombu connects to."""
    return settings.BROKER_URL or f"redis+socket://{settings.BROKER_DIR}/redis.sock"
