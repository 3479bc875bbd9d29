"""Static files under an ASGI server."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise, answering in one piece.

    Its streamed files are read by Django in a thread and whole all the same, with a
    warning for each. Here all answers share one copy of a file: who is slow to read
    one holds no memory. The largest of ours has 1.5 MB, all of them 11.
    """

    def serve(self, static_file: Any, request: HttpRequest) -> HttpResponse:
        """Answer with a file that WhiteNoise found."""
        # A range would be a copy.
        asked = {
            name: value for name, value in request.META.items() if name != "HTTP_RANGE"
        }
        found = static_file.get_response(request.method, asked)
        content = b""
        if found.file is not None:
            with found.file:
                read = _changing_content if self.autorefresh else _content
                content = read(found.file.name)
        response = HttpResponse(content, status=int(found.status))
        # WhiteNoise sets it where there is one.
        del response["content-type"]
        for name, value in found.headers:
            response[name] = value
        return response


def _changing_content(name: str) -> bytes:
    return Path(name).read_bytes()


@cache
def _content(name: str) -> bytes:
    return _changing_content(name)
