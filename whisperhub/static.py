"""Static files under an ASGI server."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise, answering in one piece.

    Its streamed files are read by Django in a thread and whole all the same, with a
    warning for each; the largest of ours has 1.5 MB.
    """

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Answer with a file that WhiteNoise found."""
        found = static_file.get_response(request.method, request.META)
        content = b""
        if found.file is not None:
            with found.file:
                content = found.file.read()
        response = HttpResponse(content, status=int(found.status))
        # WhiteNoise sets it where there is one.
        del response["content-type"]
        for name, value in found.headers:
            response[name] = value
        return response
