"""Owners of tasks and the API keys that act for them."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.scopes import (
    ORDINARY,
    ORDINARY_TEXT,
    Scope,
    scopes_from_text,
    scopes_to_text,
)

KEY_MARK = "whk_"
PREFIX_LENGTH = len(KEY_MARK) + 8
# 32 random bytes: no dictionary finds them, so a plain fast digest protects them.
KEY_BYTES = 32


class User(AbstractUser):
    """A person or a program that owns tasks; staff may enter the admin."""


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Ways to find keys."""

    def in_state(self, state: str) -> ApiKeyQuerySet:
        """Keys whose `state` is this now."""
        if state == ApiKey.State.REVOKED:
            return self.exclude(revoked_at=None)
        unrevoked, now = self.filter(revoked_at=None), timezone.now()
        if state == ApiKey.State.EXPIRED:
            return unrevoked.filter(expires_at__lte=now)
        return unrevoked.filter(
            models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        )

    def usable(self) -> ApiKeyQuerySet:
        """Keys that open the API now: neither revoked nor expired, owner active."""
        return self.in_state(ApiKey.State.ACTIVE).filter(owner__is_active=True)


class ApiKey(models.Model):
    """One secret of one owner; only its digest is stored.

    Made by `issue`, which alone ever sees the whole key. How a key is replaced and shut
    is in `accounts.keys`.
    """

    class State(models.TextChoices):
        """Whether a key opens anything; of an inactive owner none does."""

        ACTIVE = "active", _("active")
        EXPIRED = "expired", _("expired")
        REVOKED = "revoked", _("revoked")

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, help_text="What the key is used for.")
    prefix = models.CharField(max_length=PREFIX_LENGTH, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scope = models.CharField(
        max_length=100, default=ORDINARY_TEXT, help_text="What the key may do."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    replaced_by = models.OneToOneField(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="replaces",
    )

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """What the key may do, in the order of `Scope`."""
        return scopes_from_text(self.scope)

    @property
    def state(self) -> State:
        """Whether the key is active, expired or revoked."""
        if self.revoked_at is not None:
            return self.State.REVOKED
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return self.State.EXPIRED
        return self.State.ACTIVE

    @classmethod
    def issue(
        cls,
        owner: User,
        name: str,
        *,
        scopes: Iterable[str] = ORDINARY,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; the second value is the secret, shown once and never stored.

        Raises:
            ValueError: one of the scopes is none.
        """
        secret = KEY_MARK + secrets.token_urlsafe(KEY_BYTES)
        key = cls.objects.create(
            owner=owner,
            name=name,
            prefix=secret[:PREFIX_LENGTH],
            digest=digest_of(secret),
            scope=scopes_to_text(scopes),
            expires_at=expires_at,
        )
        return key, secret


def digest_of(secret: str) -> str:
    """SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find_key(secret: str) -> ApiKey | None:
    """The key with this secret, its owner loaded, in whatever state; None: unknown."""
    found: Any = ApiKey.objects.select_related("owner")
    try:
        key: ApiKey = found.get(digest=digest_of(secret))
    except ApiKey.DoesNotExist:
        return None
    return key
