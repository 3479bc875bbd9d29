"""Holds requests of the API to the rate of their key, and tells clients where it is."""

from __future__ import annotations

from typing import Any, Final

from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.limits import client_of
from whisperhub import rates
from whisperhub.rates import Standing
from whisperhub.web.preflight import is_preflight

# Three numbers, as earlier drafts of the IETF and most services have them. The present
# draft puts them into two structured fields of other names, which may join these.
LIMIT_HEADER: Final = "RateLimit-Limit"
REMAINING_HEADER: Final = "RateLimit-Remaining"
RESET_HEADER: Final = "RateLimit-Reset"


class RateExceededError(APIException):
    """The key has made too many requests.

    Attributes:
        wait: seconds until the next one may come.
    """

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "rate_limit_exceeded"
    default_detail = _(
        "Too many requests. Wait as many seconds as Retry-After says, then go on."
    )

    def __init__(self, wait: int) -> None:
        """Tell how long to wait."""
        super().__init__()
        self.wait = wait


class RateOfClient(BaseThrottle):
    """Counts a request for its quota account, if a rate is set.

    DRF asks after the permissions: what was refused for want of a key or of its scope
    has cost nothing and does not count.
    """

    def allow_request(self, request: Request, view: Any) -> bool:
        """Let the request go on; its answer gets headers, whatever it will be.

        Raises:
            RateExceededError: none is left.
        """
        if not request.user.is_authenticated:
            return True
        client = client_of(request)
        rate = client.limits.rate
        if rate is None:
            return True
        if is_preflight(request._request):
            # It counts when it comes.
            standing = rates.look(rate_name(client.quota_account_id), rate)
        else:
            standing = rates.take(rate_name(client.quota_account_id), rate)
        view.headers.update(headers_of(standing))
        if not standing.allowed:
            raise RateExceededError(standing.retry_seconds)
        return True


def rate_name(account_id: int) -> str:
    """What the requests of a quota account are counted under."""
    # Earlier releases had other numbers behind `requests:`.
    return f"requests:account:{account_id}"


def headers_of(standing: Standing) -> dict[str, str]:
    """Where a client stands, for programs."""
    return {
        LIMIT_HEADER: str(standing.limit),
        REMAINING_HEADER: str(standing.remaining),
        RESET_HEADER: str(standing.reset_seconds),
    }
