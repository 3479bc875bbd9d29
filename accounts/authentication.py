"""`Authorization: Bearer whk_…` for the REST API, and the lack of it in open mode."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, permissions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from accounts.models import ApiKey, User, find_key
from accounts.scopes import ORDINARY, Scope
from whisperhub.loopback import is_loopback
from whisperhub.network.proxies import FORWARDED

# Last use is for people; a write for every request would make reads cost writes.
LAST_USE_RESOLUTION = timedelta(minutes=1)

CHALLENGE: Final = 'Bearer realm="WhisperHub"'
# No form takes blanks in a user name, so this is never somebody's account.
ANYBODY: Final = "open mode"


class ApiKeyAuthentication(BaseAuthentication):
    """Finds the owner by the digest of the key in the request."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        """Return owner and key, or None if the request carries no key.

        Raises:
            AuthenticationFailed: the key is malformed, unknown, expired or revoked, or
                its owner's account is closed; the code tells which.
        """
        if not self._carries_key(request):
            return None
        try:
            (secret,) = (
                part.decode("ascii")
                for part in get_authorization_header(request).split()[1:]
            )
        except (ValueError, UnicodeDecodeError):
            raise exceptions.AuthenticationFailed(
                _("The Authorization header must read: Bearer <API key>."),
                "invalid_api_key",
            ) from None
        key = find_key(secret)
        if key is None:
            raise exceptions.AuthenticationFailed(
                _("This API key is unknown."), "invalid_api_key"
            )
        self._check(key)
        now = timezone.now()
        if key.last_used_at is None or now - key.last_used_at > LAST_USE_RESOLUTION:
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for; RFC 6750 names an error only if a key came."""
        if self._carries_key(request):
            return f'{CHALLENGE}, error="invalid_token"'
        return CHALLENGE

    def _carries_key(self, request: Request) -> bool:
        parts = get_authorization_header(request).split()
        return bool(parts) and parts[0].lower() == self.keyword.lower().encode()

    @staticmethod
    def _check(key: ApiKey) -> None:
        if key.state == ApiKey.State.REVOKED:
            raise exceptions.AuthenticationFailed(
                _("This API key was revoked. Use another one."), "api_key_revoked"
            )
        if key.state == ApiKey.State.EXPIRED:
            raise exceptions.AuthenticationFailed(
                _("This API key has expired. Use another one."), "api_key_expired"
            )
        if not key.owner.is_active:
            raise exceptions.AuthenticationFailed(
                _("The account of this API key is closed."), "account_closed"
            )


@dataclass(frozen=True)
class OpenAccess:
    """Stands where a key would, in a request that open mode lets in."""

    scopes: tuple[Scope, ...] = ORDINARY


class OpenModeAuthentication(BaseAuthentication):
    """Lets a program on this machine in without a key, if WHISPERHUB_OPEN_MODE is on.

    All of them act as one user, who is no staff.
    """

    def authenticate(self, request: Request) -> tuple[User, OpenAccess] | None:
        """Return the common user, or None where a key is needed.

        Raises:
            PermissionDenied: another site's page in a browser sent the request.
        """
        if not settings.OPEN_MODE:
            return None
        # Settings see to it that we listen on loopback only. This holds even if the
        # server was started by hand with another address.
        if not is_loopback(request.META.get("REMOTE_ADDR", "")):
            return None
        if _came_through_proxy(request):
            return None
        # With no key to steal, any page its visitor opens could use the service.
        if request.method not in permissions.SAFE_METHODS and _is_cross_site(request):
            raise exceptions.PermissionDenied(
                _("Open mode takes no requests from pages of other sites."),
                "cross_site_request",
            )
        user, _made = User.objects.get_or_create(
            username=ANYBODY, defaults={"password": "!"}
        )
        return (user, OpenAccess()) if user.is_active else None


def _came_through_proxy(request: Request) -> bool:
    """Whether a proxy on this machine has passed it on, for anybody's client.

    One that adds no header cannot be told from a program of this machine.
    """
    asked = request._request
    return bool(getattr(asked, "scope", asked.META).get(FORWARDED))


def _is_cross_site(request: Request) -> bool:
    """Whether the browser says so; programs send neither header."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    return site not in {"none", "same-origin"} or (
        origin is not None and urlsplit(origin).netloc != request.get_host()
    )
