"""Asks whether a request would be let in, before its body is read.

The view of the request is asked: its own authentication, permissions and limits, in the
middleware of every request, so that a refusal is the answer that the view would give.
The view itself does not run.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from django.core import signals
from django.core.handlers.asgi import get_script_prefix
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse
from django.urls import set_script_prefix
from rest_framework.views import APIView

from whisperhub.web.forms import FormRequest
from whisperhub.web.preflight import MARK, Preflight

LENGTH_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


class PreflightHandler(BaseHandler):
    """Takes a request through the middleware to the door of its view."""

    def __init__(self) -> None:
        """Load the middleware."""
        super().__init__()
        self.load_middleware()

    def ask(self, scope: Any) -> tuple[Preflight, HttpResponse]:
        """Ask about a request; in a thread.

        Returns:
            What came of it, and the answer to send if it did not pass; to be closed.
        """
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        fields = [field for field in scope["headers"] if field[0] not in LENGTH_HEADERS]
        try:
            request = FormRequest({**scope, "headers": fields}, BytesIO())
        except UnicodeDecodeError:
            # The query string; as Django answers it.
            return Preflight(), HttpResponse(status=400)
        preflight = Preflight()
        setattr(request, MARK, preflight)
        # A token may stand in the body. The request itself is checked when it is here.
        request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
        response: Any = self.get_response(request)
        response._handler_class = type(self)
        return preflight, response

    def _get_response(self, request: HttpRequest) -> HttpResponse:
        """Stand where the middleware calls the view."""
        function, arguments, named = self.resolve_request(request)
        preflight: Preflight = getattr(request, MARK)
        view = _view_of(function)
        if view is None:
            preflight.is_passed = True
            preflight.is_known = request.user.is_authenticated
            return HttpResponse()
        refusal, user = _ask_view(view, request, *arguments, **named)
        if refusal is not None:
            return refusal
        preflight.is_passed = True
        preflight.is_known = user.is_authenticated
        return HttpResponse()


def _view_of(function: Any) -> APIView | None:
    """A view of the REST framework as its function would make it; None: another one."""
    if not issubclass(getattr(function, "cls", object), APIView):
        return None
    view: Any = function.cls(**function.initkwargs)
    # Of a view set, an address leads to its actions by the method.
    actions = getattr(function, "actions", None)
    if actions is not None:
        view.action_map = actions
        for method, action in actions.items():
            setattr(view, method, getattr(view, action))
    return view  # type: ignore[no-any-return]


def _ask_view(
    view: Any, http_request: HttpRequest, *arguments: Any, **named: Any
) -> tuple[HttpResponse | None, Any]:
    """Do what `APIView.dispatch` does before it calls the method.

    Returns:
        The refusal, or None; and who sends the request.
    """
    view.setup(http_request, *arguments, **named)
    request = view.initialize_request(http_request, *arguments, **named)
    view.request = request
    view.headers = view.default_response_headers
    try:
        view.initial(request, *arguments, **named)
        method = str(http_request.method).lower()
        if method not in view.http_method_names or not hasattr(view, method):
            view.http_method_not_allowed(request, *arguments, **named)
    except Exception as error:  # noqa: BLE001 (the view decides, and raises it again)
        response = view.handle_exception(error)
    else:
        return None, request.user
    answer = view.finalize_response(request, response, *arguments, **named)
    return answer.render(), None
