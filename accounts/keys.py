"""How keys are checked, replaced and shut: for admin, commands and API alike."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.errors import KeyNotRotatableError
from accounts.limits import quota_account_of
from accounts.models import (
    KEY_MARK,
    LIMIT_FIELDS,
    PREFIX_LENGTH,
    ApiKey,
    ApiKeyQuerySet,
    User,
    digest_of,
    limit_columns,
)
from accounts.scopes import Scope

# A day: time to hand the new key to every program that has the old one.
DEFAULT_OVERLAP: Final = timedelta(days=1)
MAX_OVERLAP: Final = timedelta(days=90)


def check_key(
    owner: User, *, scopes: Iterable[str], expires_at: datetime | None
) -> None:
    """Refuse what a new key could not use.

    Raises:
        ValidationError: by field, with a code each.
    """
    faults: dict[str, ValidationError] = {}
    if Scope.ADMIN in set(scopes) and not owner.is_staff:
        faults["scopes"] = ValidationError(
            _("The scope admin is for keys of staff."), code="staff_only"
        )
    if expires_at is not None and expires_at <= timezone.now():
        faults["expires_at"] = ValidationError(
            _("This moment has passed."), code="in_the_past"
        )
    if faults:
        raise ValidationError(faults)


def rotate_key(
    key: ApiKey, *, overlap: timedelta = DEFAULT_OVERLAP
) -> tuple[ApiKey, str]:
    """Make a key that takes another's place; both work until the overlap is over.

    The new key has owner, name, scopes and limits of the old one, goes on with what it
    has used, and has as long a life from now on. The old one ends after the overlap, or
    at its own end if that is sooner.

    Returns:
        The new key and its secret, shown once.

    Raises:
        KeyNotRotatableError: the key is revoked, expired or replaced already.
    """
    now = timezone.now()
    ends_at = now + overlap
    with transaction.atomic():
        new, secret = ApiKey.issue(
            key.owner,
            key.name,
            scopes=key.scopes,
            expires_at=_renewed(key, now),
            limits=_held_limits(key),
            quota_account_id=quota_account_of(key),
        )
        # Of two rotations at the same time one finds no row, and its key is undone.
        replaced = (
            ApiKey.objects.in_state(ApiKey.State.ACTIVE)
            .filter(pk=key.pk, replaced_by=None)
            .update(
                replaced_by=new,
                expires_at=models.Case(
                    models.When(expires_at__lt=ends_at, then=models.F("expires_at")),
                    default=models.Value(ends_at, output_field=models.DateTimeField()),
                ),
            )
        )
        if not replaced:
            raise KeyNotRotatableError(
                _("This key is revoked, expired or replaced. Make a new one instead.")
            )
    return new, secret


def limit_key(key: ApiKey, limits: Mapping[str, Any]) -> None:
    """Change limits of a key, and of all others with its quota account.

    Args:
        key: any of them; its row object is brought up to date.
        limits: by name; None: the default. What is missing stays.
    """
    with transaction.atomic():
        rotated = ApiKey.objects.filter(quota_account=quota_account_of(key))
        # Before the change: a rotation under way makes a key that is to be found then.
        list(rotated.select_for_update())
        rotated.update(**limit_columns(limits))
    key.refresh_from_db(fields=LIMIT_FIELDS)


def limits_text(key: ApiKey) -> str:
    """The limits of a key's own on one line; `-`: it has none."""
    own = [f"{name}={value}" for name, value in key.limits.items() if value is not None]
    return ",".join(own) or "-"


def _held_limits(key: ApiKey) -> dict[str, Any]:
    """The limits of a key, which nobody changes until this transaction ends."""
    held = ApiKey.objects.select_for_update().filter(pk=key.pk).first()
    return (held or key).limits


def _renewed(key: ApiKey, now: datetime) -> datetime | None:
    if key.expires_at is None:
        return None
    try:
        return now + (key.expires_at - key.created_at)
    except OverflowError:
        # Beyond the year 9999.
        return key.expires_at


def revoke_keys(keys: models.QuerySet[ApiKey]) -> int:
    """Shut keys at once and for good; tells how many were not shut yet."""
    return keys.filter(revoked_at=None).update(revoked_at=timezone.now())


def keys_named(reference: str) -> ApiKeyQuerySet:
    """The keys with this id, with this prefix, or with this secret."""
    if reference.startswith(KEY_MARK):
        if len(reference) > PREFIX_LENGTH:
            return ApiKey.objects.filter(digest=digest_of(reference))
        return ApiKey.objects.filter(prefix=reference)
    try:
        return ApiKey.objects.filter(public_id=uuid.UUID(reference))
    except ValueError:
        return ApiKey.objects.none()
