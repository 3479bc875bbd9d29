"""One POST to a stranger's server that ends in time, whatever the server does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import requests
from urllib3.exceptions import HTTPError

from whisperhub.network.deadline import Deadline
from whisperhub.network.egress import (
    CONNECT_SECONDS,
    BlockedAddressError,
    Policy,
    configured_policy,
)
from whisperhub.network.sessions import GuardedSession


@dataclass(frozen=True)
class Answer:
    """What a server answered; its body is not read.

    Attributes:
        retry_after: the header as it stands; empty: none.
    """

    status: int
    retry_after: str


class PostError(Exception):
    """There was no answer.

    Attributes:
        code: blocked_address, timeout, tls_failed, connection_failed or request_failed.
    """

    def __init__(self, code: str) -> None:
        """Say why."""
        super().__init__(code)
        self.code = code


def post(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    seconds: float,
    policy: Policy | None = None,
) -> Answer:
    """Send a body once: no redirect is followed, no proxy or netrc file consulted.

    Args:
        url: http or https.
        body: as it is sent.
        headers: likewise.
        seconds: for the whole.
        policy: where it may go; None: where the settings allow.

    Raises:
        PostError: no answer came.
    """
    try:
        with (
            Deadline(seconds) as deadline,
            GuardedSession(policy or configured_policy(), deadline) as session,
        ):
            try:
                response = session.post(
                    url,
                    data=body,
                    headers=dict(headers),
                    timeout=(min(CONNECT_SECONDS, seconds), seconds),
                    allow_redirects=False,
                    stream=True,
                )
                response.close()
            finally:
                # A connection that was cut can look like one that ended: headers that
                # stop in their middle are an answer to http.client.
                deadline.check()
    except BlockedAddressError as error:
        raise PostError(error.code) from error
    except requests.exceptions.SSLError as error:
        raise PostError("tls_failed") from error
    except (TimeoutError, requests.Timeout) as error:
        raise PostError("timeout") from error
    except requests.ConnectionError as error:
        raise PostError("connection_failed") from error
    # requests lets some of urllib3's pass; a name may be no name at all.
    except (requests.RequestException, HTTPError, UnicodeError) as error:
        raise PostError("request_failed") from error
    return Answer(response.status_code, response.headers.get("Retry-After", ""))
