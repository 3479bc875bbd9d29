"""Owners as staff name them: by their user names."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from accounts.models import User


def user_named(name: str) -> User:
    """The user of this name.

    Raises:
        ValidationError: there is none.
    """
    # No name has a zero byte, and PostgreSQL takes none.
    owner = None if "\0" in name else User.objects.filter(username=name).first()
    if owner is None:
        raise serializers.ValidationError(
            _("There is no user of this name."), code="unknown_owner"
        )
    return owner


def named_owner(name: str, *, field: str) -> User:
    """The same, where the error must name its field itself."""
    try:
        return user_named(name)
    except serializers.ValidationError as error:
        raise serializers.ValidationError({field: error.detail}) from error


class OwnerField(serializers.CharField):
    """A user by name."""

    def __init__(self, **kwargs: Any) -> None:
        """Take what a user name may be."""
        super().__init__(max_length=150, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """The user, after the checks of the text."""
        return user_named(super().run_validation(data))
