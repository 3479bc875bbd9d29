"""`requests` behind the policy: nothing but http and https, nothing but what is asked.

Host header, SNI and the check of the certificate stay what they are, because a
connection keeps the name it was made for.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
)

from whisperhub.network.deadline import Deadline
from whisperhub.network.egress import Policy


class GuardedSession(requests.Session):
    """A session whose connections the policy makes and the deadline ends.

    It takes nothing from the environment, neither proxies nor a netrc file, sends no
    header that it was not given, and follows no redirect.
    """

    def __init__(self, policy: Policy, deadline: Deadline) -> None:
        """Mount http and https, and nothing else."""
        super().__init__()
        self.trust_env = False
        self.headers.clear()
        if policy.ca_file is not None:
            self.verify = str(policy.ca_file)
        self.adapters.clear()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _GuardedAdapter(policy, deadline))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: for the sake of a target, requests would read the whole body."""
        return


class _GuardedAdapter(HTTPAdapter):
    """Has the policy make every connection."""

    def __init__(self, policy: Policy, deadline: Deadline) -> None:
        self._attributes = {"policy": policy, "deadline": deadline}
        super().__init__(max_retries=0)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request, but through no proxy: that would connect in our place."""
        if proxies:
            raise requests.exceptions.InvalidProxyURL
        return super().send(request, stream, timeout, verify, cert, proxies)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        guarded = _GuardedHTTPS if pool.scheme == "https" else _GuardedHTTP
        pool.ConnectionCls = type(guarded.__name__, (guarded,), self._attributes)
        return pool


class _Guarded:
    policy: Policy
    deadline: Deadline

    def _new_conn(self) -> socket.socket:
        connection: Any = self
        host, port, seconds = connection._dns_host, connection.port, connection.timeout
        try:
            made = self.policy.connect(host, port, self.deadline)
        except socket.gaierror as error:
            raise NameResolutionError(host, connection, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(connection, "No answer in time") from error
        except OSError as error:
            raise NewConnectionError(connection, "No connection") from error
        # For TLS to agree on its keys; reads get their own afterwards.
        made.settimeout(seconds)
        return made


class _GuardedHTTP(_Guarded, HTTPConnection):
    pass


class _GuardedHTTPS(_Guarded, HTTPSConnection):
    pass
