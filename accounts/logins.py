"""Holds back those who guess passwords, and nobody else.

Each attempt counts twice: for its address, and for the name that is tried from there.
So who guesses at a name is stopped, and its owner, at another address, is not.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import logging
import unicodedata
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from whisperhub import rates
from whisperhub.rates import Rate, Standing

logger = logging.getLogger(__name__)

SECONDS: Final = 600
# What one customer of a provider has of IPv6.
IPV6_PREFIX: Final = 64
TEMPLATE: Final = "accounts/too_many_logins.html"


def hold_back_guesses(
    view: Callable[..., HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Decorate a view whose POST signs a person in."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        if refused := _refusal(request):
            return _too_many(request, refused)
        response = view(request, *args, **kwargs)
        # Not just anybody who is signed in: they may be guessing at another's name.
        if _plain(request.user.get_username()) == _plain(_tried(request)):
            rates.forget(_name_of_account(request))
        return response

    return guarded


def _refusal(request: HttpRequest) -> Standing | None:
    # The address first: who is stopped by it cannot make up more names.
    for name, count in (
        (_name_of_address(request), settings.LOGIN_ADDRESS_ATTEMPTS),
        (_name_of_account(request), settings.LOGIN_ATTEMPTS),
    ):
        if count:
            standing = rates.take(name, Rate(count, SECONDS))
            if not standing.allowed:
                return standing
    return None


def _too_many(request: HttpRequest, standing: Standing) -> TemplateResponse:
    logger.warning("Too many attempts to sign in from %s", _address_of(request))
    return TemplateResponse(
        request,
        TEMPLATE,
        {"title": _("Too many attempts"), "seconds": standing.retry_seconds},
        status=429,
        headers={
            "Retry-After": str(standing.retry_seconds),
            "Cache-Control": "no-store",
        },
    )


def _name_of_address(request: HttpRequest) -> str:
    return f"login:{_address_of(request)}"


def _name_of_account(request: HttpRequest) -> str:
    # Digested, because people type passwords there.
    digest = hashlib.sha256(_plain(_tried(request)).encode("utf-8", "replace"))
    return f"{_name_of_address(request)}:{digest.hexdigest()[:32]}"


def _tried(request: HttpRequest) -> str:
    return request.POST.get("username", "")


def _plain(name: str) -> str:
    """A name without what databases may overlook."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _address_of(request: HttpRequest) -> str:
    address = request.META.get("REMOTE_ADDR", "")
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        # A UNIX socket has none.
        return "unknown"
    if read.version == 4:
        return str(read)
    if mapped := getattr(read, "ipv4_mapped", None):
        return str(mapped)
    return str(ipaddress.ip_network((read, IPV6_PREFIX), strict=False))
