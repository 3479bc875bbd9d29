"""Headers that limit what a page may do, and keep answers of the API out of caches."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest, HttpResponseBase

from whisperhub.web.middleware import TwoWayMiddleware
from whisperhub.web.problems import NO_STORE

POLICY: Final = "Content-Security-Policy"
API: Final = "/api/"
# Scripts come from files of this server only. Swagger UI, ReDoc and the admin write
# styles into their pages; Swagger UI has its pictures in its style sheet.
PAGE_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class ResponseHeadersMiddleware(TwoWayMiddleware):
    """Adds them to what does not have them: a view may set its own."""

    def answer(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request."""
        response: HttpResponseBase = self.get_response(request)
        return self._protected(request, response)

    async def answer_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request, in the event loop."""
        response: HttpResponseBase = await self.get_response(request)
        return self._protected(request, response)

    @staticmethod
    def _protected(
        request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if request.path_info.startswith(API):
            response.headers.setdefault("Cache-Control", NO_STORE)
        if response.headers.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault(POLICY, PAGE_POLICY)
        return response
