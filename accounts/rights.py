"""What staff may do with accounts and keys: Django's permissions, and no rank above.

Who holds a key acts for its owner. So a key is made for another account only by
somebody who has every right of that account, and never has more scopes than what it is
asked for with. The admin and the API both ask here; commands are for the operating
system's user and do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from django.contrib.auth.models import Permission
from django.db.models import Q
from django.utils.translation import gettext as _

from accounts.errors import (
    OwnerHasMoreRightsError,
    PermissionRequiredError,
    ScopeNotHeldError,
)
from accounts.models import User
from accounts.scopes import Scope


class Right(StrEnum):
    """A permission of Django on what belongs to others."""

    VIEW_KEY = "accounts.view_apikey"
    ADD_KEY = "accounts.add_apikey"
    CHANGE_KEY = "accounts.change_apikey"
    DELETE_KEY = "accounts.delete_apikey"
    VIEW_USAGE = "accounts.view_dailyusage"
    VIEW_TASKS = "transcription.view_transcriptiontask"


# What changes a key or shows a secret of its owner; the rest only looks.
POWERFUL: Final = frozenset({Right.ADD_KEY, Right.CHANGE_KEY, Right.DELETE_KEY})


def check_permission(actor: User, right: Right) -> None:
    """Refuse who lacks a permission of Django.

    Raises:
        PermissionRequiredError: naming it.
    """
    if not actor.has_perm(right):
        raise PermissionRequiredError(
            _(
                "Limits of keys, and what belongs to other accounts, need the "
                "permission %(permission)s. Ask an administrator for it."
            )
            % {"permission": right.value}
        )


def check_owner(actor: User, owner: User, right: Right) -> None:
    """Refuse what `actor` may not do with the keys of `owner`; one's own need nothing.

    Raises:
        PermissionRequiredError: the permission is missing.
        OwnerHasMoreRightsError: the owner stands above, and it is more than a look.
    """
    if owner.pk == actor.pk:
        return
    check_permission(actor, right)
    if right in POWERFUL and has_more_rights(owner, actor):
        raise OwnerHasMoreRightsError(
            _(
                "The account %(owner)s has rights that yours lacks. Only an account "
                "with all of them, such as a superuser's, may do this."
            )
            % {"owner": owner.get_username()}
        )


def has_more_rights(owner: User, actor: User) -> bool:
    """Whether acting for `owner` would give `actor` a right of Django it lacks.

    A closed account counts with what it has when it is opened again.
    """
    if owner.pk == actor.pk or actor.is_superuser:
        return False
    return owner.is_superuser or not _permissions(owner) <= _permissions(actor)


def _permissions(user: User) -> set[int]:
    held = Permission.objects.filter(Q(user=user) | Q(group__user=user))
    return set(held.values_list("pk", flat=True))


def check_scopes(held: Iterable[Scope], wanted: Iterable[Scope]) -> None:
    """Refuse a key that could do what the key that asks for it cannot.

    Raises:
        ScopeNotHeldError: naming the scopes.
    """
    lacking = set(wanted) - set(held)
    if lacking:
        raise ScopeNotHeldError(
            _(
                "Your key lacks the scope %(scopes)s, so it cannot make a key that "
                "has it. Leave the scope out, or use a key that has it."
            )
            % {"scopes": ", ".join(scope for scope in Scope if scope in lacking)}
        )
