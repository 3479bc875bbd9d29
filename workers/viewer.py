"""Flower with every address behind its login, and under names of ours only.

Flower asks for the password in the handler of each page, and two of its handlers,
`/metrics` and `/healthcheck`, do not ask. It answers under any Host, so that a page
whose name is made to point at this machine (DNS rebinding) could read it in an
operator's browser. Here both are looked at before any handler is chosen.

    python -m workers.viewer -A whisperhub flower --port=5555
"""

from __future__ import annotations

import base64
import hmac
import sys
from collections.abc import Iterable
from typing import Any, Final

from celery.__main__ import main as celery_main
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from flower import command
from flower.app import Flower
from tornado.web import RequestHandler

CHALLENGE: Final = 'Basic realm="WhisperHub Flower"'
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


class Refused(RequestHandler):
    """Answers in place of Flower's own handler."""

    def initialize(self, status: int, sentence: str) -> None:
        """Take what is to be said; tornado calls it."""
        self._status, self._sentence = status, sentence

    def check_xsrf_cookie(self) -> None:
        """Nothing is done, whoever asks."""

    async def prepare(self) -> None:
        """Answer any method."""
        self.set_status(self._status)
        if self._status == 401:
            self.set_header("WWW-Authenticate", CHALLENGE)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{self._sentence}\n")


class GuardedFlower(Flower):  # type: ignore[misc]
    """Flower behind one door."""

    def find_handler(self, request: Any, **others: Any) -> Any:
        """Choose the handler of a request that is let in, else a refusal."""
        if not is_known_host(request.host):
            return self._refuse(
                request,
                400,
                "This name is not in WHISPERHUB_ALLOWED_HOSTS. Use 127.0.0.1, or add "
                "it there.",
            )
        if not is_known_user(
            request.headers.get("Authorization", ""), self.options.basic_auth or ()
        ):
            return self._refuse(request, 401, "Flower's user and password, please.")
        return super().find_handler(request, **others)

    def _refuse(self, request: Any, status: int, sentence: str) -> Any:
        said = {"status": status, "sentence": sentence}
        return self.get_handler_delegate(request, Refused, said)


def is_known_host(host: str) -> bool:
    """Whether a Host header names this machine, or what the operator allows."""
    domain, _port = split_domain_port(host)
    # `*` would let in what this is about.
    allowed = [name for name in settings.ALLOWED_HOSTS if name != "*"]
    return bool(domain) and validate_host(domain, [*LOOPBACK, *allowed])


def is_known_user(header: str, users: Iterable[str]) -> bool:
    """Whether an Authorization header is that of one of `user:password`."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return False
    # Each is compared, so that time does not tell which.
    matches = [hmac.compare_digest(given, user.encode()) for user in users]
    return any(matches)


def main() -> None:
    """Run celery's command line with this Flower in it."""
    command.Flower = GuardedFlower
    sys.exit(celery_main())


if __name__ == "__main__":
    main()
