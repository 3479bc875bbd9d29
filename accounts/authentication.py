"""`Authorization: Bearer whk_…` for the REST API."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from accounts.models import ApiKey, User, find_usable_key

# Last use is for people; a write for every request would make reads cost writes.
LAST_USE_RESOLUTION = timedelta(minutes=1)


class ApiKeyAuthentication(BaseAuthentication):
    """Finds the owner by the digest of the key in the request."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        """Return owner and key, or None if the request carries no key.

        Raises:
            AuthenticationFailed: the key is malformed, unknown, expired or revoked.
        """
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != self.keyword.lower().encode():
            return None
        try:
            (secret,) = (part.decode("ascii") for part in parts[1:])
        except (ValueError, UnicodeDecodeError):
            raise exceptions.AuthenticationFailed(
                _("The Authorization header must read: Bearer <API key>.")
            ) from None
        key = find_usable_key(secret)
        if key is None:
            raise exceptions.AuthenticationFailed(
                _("This API key is unknown, expired or revoked.")
            )
        now = timezone.now()
        if key.last_used_at is None or now - key.last_used_at > LAST_USE_RESOLUTION:
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return self.keyword
