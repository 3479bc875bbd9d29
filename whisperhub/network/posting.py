"""One POST to a stranger's server that ends in time, whatever the server does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

CONNECT_SECONDS: Final = 5.0


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
        code: timeout, tls_failed, connection_failed or request_failed.
    """

    def __init__(self, code: str) -> None:
        """Say why."""
        super().__init__(code)
        self.code = code


def post(
    url: str, body: bytes, *, headers: Mapping[str, str], seconds: float
) -> Answer:
    """Send a body once: no redirect is followed, no proxy or netrc file consulted.

    Args:
        url: http or https.
        body: as it is sent.
        headers: likewise.
        seconds: for the whole. Only the look-up of the host's name cannot be cut, nor
            the connecting to each of its addresses, which has a limit of its own.

    Raises:
        PostError: no answer came.
    """
    try:
        with Deadline(seconds) as deadline, _Session(deadline) as session:
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


class Deadline:
    """Shuts every connection made under it when its time is up.

    The timeouts of `requests` are for a single read: a server that sends a byte now and
    then is never too late for them.
    """

    def __init__(self, seconds: float) -> None:
        """Set the time, which begins with the `with` block."""
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._has_passed = False

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection too; at once if the time is up already.

        The caller may close it or give its descriptor away, as TLS does: this is done
        to a duplicate.
        """
        with self._lock:
            self._sockets.append(connection.dup())
            if self._has_passed:
                self._shut()

    def check(self) -> None:
        """Raise TimeoutError if the time is up."""
        if self._has_passed:
            raise TimeoutError

    def _cut(self) -> None:
        with self._lock:
            self._has_passed = True
            self._shut()

    def _shut(self) -> None:
        for connection in self._sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # It has ended by itself.

    def __enter__(self) -> Self:
        """Begin to count."""
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop counting."""
        self._timer.cancel()
        with self._lock:
            for connection in self._sockets:
                connection.close()
            self._sockets.clear()


class _Session(requests.Session):
    """Takes nothing from the environment and follows nothing."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.trust_env = False
        for scheme in ("http://", "https://"):
            self.mount(scheme, _WatchedAdapter(deadline))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: for the sake of a target, requests would read the whole body."""
        return


class _WatchedAdapter(HTTPAdapter):
    """Puts every connection under a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        watched = _WatchedHTTPS if pool.scheme == "https" else _WatchedHTTP
        pool.ConnectionCls = type(
            watched.__name__, (watched,), {"deadline": self._deadline}
        )
        return pool


class _Watched:
    deadline: Deadline

    def _new_conn(self) -> socket.socket:
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]
        self.deadline.watch(connection)
        return connection


class _WatchedHTTP(_Watched, HTTPConnection):
    pass


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass
