"""Views whose answer waits for the end of a task, a bounded number for each key.

Submitting and answering are short and run in the threads of the web process; see
`whisperhub.web.deferred` for what lies between them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

from django.conf import settings
from django.http import Http404, HttpResponseBase
from django.utils import translation
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.limits import Client, client_of
from accounts.models import User
from transcription.errors import TooManyWaitingError
from transcription.models import TranscriptionTask
from transcription.services.waiting import wait_until_ended
from whisperhub import places
from whisperhub.places import Place
from whisperhub.web.deferred import InThread
from whisperhub.web.preflight import is_preflight

# Nobody knows when one of the others will be answered.
RETRY_SECONDS: Final = 5
# How long submitting and answering may take beside the wait. It matters only where a
# process dies with the place.
PLACE_MARGIN_SECONDS: Final = 60
# Headers of the first answer that belong to its body.
HEADERS_OF_BODY: Final = ("Content-Type", "Content-Length", "Retry-After")


class WaitsForTask(APIView):
    """A view that submits a task and answers with its outcome, if that comes in time.

    Its method returns `self.wait_for(task, response)`. The response is what the client
    gets if the task takes too long, or the server stops.

    Attributes:
        wait_seconds: how long an answer waits at most.
    """

    wait_seconds: ClassVar[float] = 30.0
    _place: Place | None = None

    def outcome(self, task: TranscriptionTask) -> Response:
        """The answer for a task that has ended."""
        raise NotImplementedError

    def wait_for(self, task: TranscriptionTask, response: Response) -> Response:
        """Have the response wait for the task."""
        response.deferred = _EndOfTask(self, task.public_id)  # type: ignore[attr-defined]
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let a request in, if its key has a place to wait.

        Raises:
            TooManyWaitingError: too many requests of the key wait already.
        """
        super().initial(request, *args, **kwargs)
        most: int = settings.KEY_WAITING_REQUESTS
        if not most:
            return
        name = place_name(client_of(request))
        if is_preflight(request._request):
            has_place = places.is_free(name, most=most)
        else:
            seconds = self.wait_seconds + PLACE_MARGIN_SECONDS
            self._place = places.take(name, most=most, seconds=seconds)
            has_place = self._place is not None
        if not has_place:
            raise TooManyWaitingError(
                _(
                    "{count} requests of this key wait for their answers, and no more "
                    "may. Wait until some are answered, or submit a task and ask for "
                    "its result."
                ).format(count=most),
                wait=RETRY_SECONDS,
            )

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer; the place is held for as long as the answer waits."""
        waits = False
        try:
            response: Any = super().dispatch(request, *args, **kwargs)
            waits = hasattr(response, "deferred")
        finally:
            if not waits:
                self._leave()
        if waits:
            response._resource_closers.append(self._leave)
        return cast(HttpResponseBase, response)

    def _leave(self) -> None:
        if self._place is not None:
            self._place.release()
            self._place = None

    def finish(self, response: Any, public_id: uuid.UUID) -> None:
        """Put the task's outcome in the place of the answer so far."""
        request = self.request
        task = TranscriptionTask.objects.filter(
            public_id=public_id, owner=cast(User, request.user)
        ).first()
        if task is not None and not task.is_finished:
            return
        with translation.override(request._request.LANGUAGE_CODE):
            answer: Any = self.finalize_response(request, self._outcome(task))
            answer.render()
        for name in HEADERS_OF_BODY:
            response.headers.pop(name, None)
            if name in answer.headers:
                response.headers[name] = answer.headers[name]
        response.status_code = answer.status_code
        response.content = answer.content
        response.headers["Content-Length"] = str(len(answer.content))

    def _outcome(self, task: TranscriptionTask | None) -> Response:
        try:
            if task is None:
                raise Http404
            return self.outcome(task)
        except Exception as error:  # noqa: BLE001  (what DRF does not know, it raises)
            return self.handle_exception(error)


@dataclass(frozen=True)
class _EndOfTask:
    """What an answer waits for."""

    view: WaitsForTask
    public_id: uuid.UUID

    async def wait(self, in_thread: InThread) -> bool:
        """Wait for the end of the task."""
        return await wait_until_ended(
            self.public_id, seconds=self.view.wait_seconds, in_thread=in_thread
        )

    def finish(self, response: Any) -> None:
        """Answer with the outcome."""
        self.view.finish(response, self.public_id)


def place_name(client: Client) -> str:
    """What the waiting requests of a quota account are counted under."""
    return f"waiting:account:{client.quota_account_id}"
