"""Views that take a file: a client without room for it is told before it is read."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.limits import client_of
from transcription.services import quotas
from whisperhub.web.preflight import is_preflight

IDEMPOTENCY_KEY: Final = "Idempotency-Key"


class TakesFile(APIView):
    """A view with operations whose request may have a file.

    Attributes:
        file_actions: those operations: names of actions, or of methods.
    """

    file_actions: ClassVar[frozenset[str]] = frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let a request in; before its body is read, only if there is room for it."""
        super().initial(request, *args, **kwargs)
        # A request with a key may have made its task before: then it has no need of
        # room.
        if is_preflight(request._request) and IDEMPOTENCY_KEY not in request.headers:
            action = getattr(self, "action", None) or str(request.method).lower()
            if action in self.file_actions:
                quotas.check_room(client_of(request))
