"""Owners as staff name them: by their user names."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from accounts.models import User
from accounts.rights import Right, check_permission


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


def check_may_name(actor: User, name: str, right: Right) -> None:
    """Refuse another's name from who may not act on others.

    It comes before the name is looked up: to such a client every name, taken or not,
    gets the same answer.

    Raises:
        PermissionRequiredError: it is not the client's own name, and it lacks `right`.
    """
    if name != actor.get_username():
        check_permission(actor, right)


class OwnerField(serializers.CharField):
    """A user by name; the context has the request that names them.

    Args:
        right: what a client needs that names somebody else.
    """

    def __init__(self, *, right: Right, **kwargs: Any) -> None:
        """Take what a user name may be."""
        super().__init__(max_length=150, **kwargs)
        self.right = right

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """The user, after the checks of the text."""
        name = super().run_validation(data)
        check_may_name(self.context["request"].user, name, self.right)
        return user_named(name)
