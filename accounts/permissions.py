"""What a request may do: its key's scopes against what the operation needs."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.authentication import CHALLENGE
from accounts.scopes import Scope


class InsufficientScopeError(APIException):
    """The key is good, and lacks the scope."""

    status_code = status.HTTP_403_FORBIDDEN
    default_code = "insufficient_scope"

    def __init__(self, needed: Scope) -> None:
        """Name the scope, for people and as RFC 6750 has it."""
        super().__init__(
            _("This needs a key with the scope %(scope)s.") % {"scope": needed.value}
        )
        self.auth_header = (
            f'{CHALLENGE}, error="insufficient_scope", scope="{needed.value}"'
        )


class StaffOnlyError(APIException):
    """The scope is there, and its owner is no staff (any more)."""

    status_code = status.HTTP_403_FORBIDDEN
    default_code = "staff_only"
    default_detail = _("Only staff may do this.")


def required_scope(view: Any, method: str | None) -> Scope:
    """The scope that an operation needs.

    A view says it with `required_scope`, an action of a viewset with the same word in
    its decorator; otherwise what changes nothing needs `read`, the rest `write`.
    """
    explicit: Scope | None = getattr(view, "required_scope", None)
    if explicit is not None:
        return explicit
    return Scope.READ if method in SAFE_METHODS else Scope.WRITE


def granted_scopes(request: Request) -> tuple[Scope, ...]:
    """What the key gives; a person who is signed in has all."""
    # The stubs know DRF's own tokens only.
    auth: Any = request.auth
    if auth is None:
        return tuple(Scope)
    scopes: tuple[Scope, ...] = auth.scopes
    return scopes


class HasScope(BasePermission):
    """Lets in who is known and has the scope; `admin` is for staff besides."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the request may go on.

        Raises:
            InsufficientScopeError: the key lacks the scope.
            StaffOnlyError: it has `admin`, but its owner is no staff.
        """
        if not request.user.is_authenticated:
            return False
        needed = required_scope(view, request.method)
        if needed not in granted_scopes(request):
            raise InsufficientScopeError(needed)
        if needed == Scope.ADMIN and not request.user.is_staff:
            raise StaffOnlyError
        return True
