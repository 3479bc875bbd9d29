"""Owners of tasks and the API keys that act for them."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone

KEY_MARK = "whk_"
PREFIX_LENGTH = len(KEY_MARK) + 8
# 32 random bytes: no dictionary finds them, so a plain fast digest protects them.
KEY_BYTES = 32


class User(AbstractUser):
    """A person or a program that owns tasks; staff may enter the admin."""


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Ways to find keys."""

    def usable(self) -> ApiKeyQuerySet:
        """Keys that open the API now: neither revoked nor expired, owner active."""
        now = timezone.now()
        return self.filter(
            models.Q(expires_at=None) | models.Q(expires_at__gt=now),
            revoked_at=None,
            owner__is_active=True,
        )


class ApiKey(models.Model):
    """One secret of one owner; only its digest is stored.

    Made by `issue`, which alone ever sees the whole key.
    """

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, help_text="What the key is used for.")
    prefix = models.CharField(max_length=PREFIX_LENGTH, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(
        cls, owner: User, name: str, *, expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key; the second value is the secret, shown once and never stored."""
        secret = KEY_MARK + secrets.token_urlsafe(KEY_BYTES)
        key = cls.objects.create(
            owner=owner,
            name=name,
            prefix=secret[:PREFIX_LENGTH],
            digest=digest_of(secret),
            expires_at=expires_at,
        )
        return key, secret


def digest_of(secret: str) -> str:
    """SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find_usable_key(secret: str) -> ApiKey | None:
    """The key with this secret, its owner loaded; None if it opens nothing."""
    found: Any = (
        ApiKey.objects.usable().select_related("owner").filter(digest=digest_of(secret))
    )
    key: ApiKey | None = found.first()
    return key
