"""Which headers a client may choose for requests that we send in its name.

A receiver behind a proxy believes some headers, because its proxy writes them: who the
client is, which address it has, whether it came over TLS. Our request passes that proxy
as anybody's does, but where it reaches a receiver directly, such a header would be a
lie in our name. Programs behind CGI, WSGI and PHP read `X_Real_IP` and `X.Real.IP` as
`X-Real-IP`, so names are compared as those do.
"""

from __future__ import annotations

import re
from typing import Final

from whisperhub.network.proxies import is_said_by_proxies

# What belongs to the connection, to the body, or to us.
OURS: Final = frozenset(
    {
        *("connection", "expect", "host", "http2-settings", "keep-alive", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
        *("x-http-method", "x-http-method-override", "x-method-override"),
    }
)
OURS_STARTS: Final = ("content-", "proxy-", "sec-", "transfer-", "webhook-")
# What proxies tell of a client they have authenticated, and load balancers of clouds.
IDENTITY_STARTS: Final = (
    *("cf-", "client-cert", "forwarded-", "remote-", "ssl-client-"),
    *("x-amzn-", "x-appengine-", "x-auth-request-", "x-authenticated-", "x-azure-"),
    *("x-client-cert", "x-envoy-", "x-goog-authenticated-", "x-goog-iap-"),
    *("x-ms-client-", "x-original-", "x-real-", "x-remote-", "x-ssl-", "x-webauth-"),
)


def may_be_chosen(name: str) -> bool:
    """Whether a client may give a header of this name."""
    if "_" in name:
        return False
    read = re.sub(r"[^0-9a-z]", "-", name.lower())
    return not (
        read in OURS
        or read.startswith((*OURS_STARTS, *IDENTITY_STARTS))
        or is_said_by_proxies(read)
    )
