"""Views that take a file: who may not send it is told before it is read."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.limits import client_of
from transcription.services import quotas
from whisperhub.rehearsal import rehearsal_of

IDEMPOTENCY_KEY: Final = "Idempotency-Key"


class _PassedError(exceptions.APIException):
    """The end of a rehearsal; nobody sees the answer."""

    status_code = status.HTTP_204_NO_CONTENT


class TakesFile(APIView):
    """A view that the guard of uploads asks before it reads a large form.

    Attributes:
        file_actions: its operations with a file: names of actions, or of methods.
    """

    file_actions: ClassVar[frozenset[str]] = frozenset()

    def check_throttles(self, request: Request) -> None:
        """Count a request once, when it is in earnest."""
        if rehearsal_of(request._request) is None:
            super().check_throttles(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let a request in; a rehearsal ends here."""
        super().initial(request, *args, **kwargs)
        rehearsal = rehearsal_of(request._request)
        if rehearsal is None:
            return
        # A request with a key may have made its task before: then it has no need of
        # room.
        if IDEMPOTENCY_KEY not in request.headers:
            quotas.check_room(client_of(request))
        rehearsal.passed = True
        raise _PassedError
