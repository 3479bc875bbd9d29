"""Owners of tasks and the API keys that act for them."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import AbstractUser
from django.core.validators import MaxValueValidator
from django.db import models, transaction
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from accounts.scopes import (
    ORDINARY,
    ORDINARY_TEXT,
    Scope,
    scopes_from_text,
    scopes_to_text,
)
from whisperhub.queues import PRIORITIES

KEY_MARK = "whk_"
PREFIX_LENGTH = len(KEY_MARK) + 8
# 32 random bytes: no dictionary finds them, so a plain fast digest protects them.
KEY_BYTES = 32

# What a key may use at most; see `accounts.limits`.
LIMIT_FIELDS: Final = (
    "requests_per_minute",
    "audio_seconds_per_day",
    "unfinished_tasks",
    "highest_priority",
)
MAX_REQUESTS_PER_MINUTE: Final = 1_000_000
# The largest number of the column on every database.
MAX_COUNT: Final = 2**31 - 1


class User(AbstractUser):
    """A person or a program that owns tasks; staff may enter the admin."""

    # Filled by `accounts.limits.quota_account_of` when it is first needed.
    quota_account = models.OneToOneField(
        "QuotaAccount",
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="user_without_key",
        help_text="What this user's requests without an API key are counted for.",
    )


class QuotaAccount(models.Model):
    """What use of the service is counted for: tasks, audio and requests.

    An API key has one and shares it with the keys that rotation makes of it. A user has
    another one for requests without a key. It is deleted with its owner only, so what
    was used outlives the keys.
    """

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="quota_accounts"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    # For migrations alone; dropped with `TranscriptionTask.key_line`.
    legacy_number = models.BigIntegerField(
        null=True,
        unique=True,
        editable=False,
        help_text="What earlier releases counted under instead of this account.",
    )

    def __str__(self) -> str:
        return str(self.pk)


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


def limit(what: Any, *, most: int = MAX_COUNT) -> Any:
    """The column of a limit.

    Args:
        what: is limited, a sentence.
        most: the largest limit that can be set.
    """
    return models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(most)],
        help_text=format_lazy("{} {}", what, _("Empty: the default. 0: no limit.")),
    )


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
    # Empty only in keys that an earlier release makes beside this one.
    quota_account = models.ForeignKey(
        QuotaAccount,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="api_keys",
        help_text="Shared with the keys that rotation makes of this one.",
    )
    # Unused since there are quota accounts; dropped in the next release.
    first_key = models.BigIntegerField(null=True, editable=False, db_index=True)
    requests_per_minute = limit(
        _("Requests in a minute."), most=MAX_REQUESTS_PER_MINUTE
    )
    audio_seconds_per_day = limit(_("Seconds of audio in a day, in UTC."))
    unfinished_tasks = limit(_("Tasks that have not ended, at any time."))
    highest_priority = models.CharField(
        max_length=6,
        blank=True,
        choices=[(priority, priority) for priority in PRIORITIES],
        help_text=_("The highest priority of its tasks. Empty: the default."),
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
    def limits(self) -> dict[str, Any]:
        """Its own limits, by name; None: the default counts."""
        shown = {name: getattr(self, name) for name in LIMIT_FIELDS}
        return shown | {"highest_priority": self.highest_priority or None}

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
        limits: Mapping[str, Any] | None = None,
        quota_account_id: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; the second value is the secret, shown once and never stored.

        Args:
            owner: whom it acts for.
            name: what it is for.
            scopes: what it may do.
            expires_at: None: it does not expire.
            limits: by name; what is missing or None has the default.
            quota_account_id: what its use is counted for; None: a new account.

        Raises:
            ValueError: one of the scopes is none.
        """
        secret = KEY_MARK + secrets.token_urlsafe(KEY_BYTES)
        with transaction.atomic():
            if quota_account_id is None:
                quota_account_id = QuotaAccount.objects.create(owner=owner).pk
            key = cls.objects.create(
                owner=owner,
                quota_account_id=quota_account_id,
                name=name,
                prefix=secret[:PREFIX_LENGTH],
                digest=digest_of(secret),
                scope=scopes_to_text(scopes),
                expires_at=expires_at,
                **limit_columns(limits or {}),
            )
        return key, secret


class DailyUsage(models.Model):
    """What was counted for a quota account in one day; written by `accounts.usage`."""

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="daily_usage"
    )
    # An owner's use stays when another owner's account, for which it counted, goes.
    quota_account = models.ForeignKey(
        QuotaAccount,
        on_delete=models.SET_NULL,
        null=True,
        db_index=False,
        related_name="daily_usage",
    )
    # Unused since there are quota accounts; dropped in the next release.
    line = models.BigIntegerField(null=True, editable=False)
    day = models.DateField(help_text="In UTC.")
    audio_seconds = models.FloatField(default=0.0)
    tasks = models.PositiveIntegerField(
        default=0, help_text="Whose audio was counted for the first time."
    )

    class Meta:
        verbose_name = _("daily usage")
        verbose_name_plural = _("daily usage")
        ordering = ["-day", "-pk"]
        indexes = [
            models.Index(fields=["owner", "day"], name="usage_of_owner"),
            models.Index(fields=["day"], name="usage_oldest"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["line", "day"], name="usage_of_line"),
            models.UniqueConstraint(
                fields=["quota_account", "day"], name="usage_of_account"
            ),
        ]

    def __str__(self) -> str:
        return f"Account {self.quota_account_id} on {self.day}"


def limit_columns(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Limits by name as the columns hold them: no priority is an empty text."""
    columns = dict(limits)
    if "highest_priority" in columns:
        columns["highest_priority"] = columns["highest_priority"] or ""
    return columns


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
