"""JSON in and out, for all that Unicode and JSON allow and Python does not."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer


class BoundedJSONParser(JSONParser):
    """Refuses what is nested so deep that Python cannot read it."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        """The body as Python has it.

        Raises:
            ParseError: it is no JSON, or nested too deep.
        """
        try:
            return super().parse(*args, **kwargs)
        except RecursionError as error:
            # `transcription.api.exceptions` says it.
            raise ParseError from error


class AsciiJSONRenderer(JSONRenderer):
    """Writes all but ASCII by its number."""

    ensure_ascii = True


class AnyTextJSONRenderer(JSONRenderer):
    """Writes texts that UTF-8 cannot hold the way they came, in ASCII.

    A request may hold halves of surrogate pairs, and errors name what they are about.
    """

    def render(self, *args: Any, **kwargs: Any) -> Any:
        """The answer's bytes."""
        try:
            return super().render(*args, **kwargs)
        except UnicodeEncodeError:
            return AsciiJSONRenderer().render(*args, **kwargs)
