"""JSON in and out, for all that Unicode and JSON allow and Python does not."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import TooManyFieldsSent
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer


class BoundedJSONParser(JSONParser):
    """Refuses what is nested so deep that Python cannot read it, or has many fields."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        """The body as Python has it.

        Raises:
            ParseError: the body is not JSON, or is nested too deep.
            TooManyFieldsSent: it has more fields, or entries of lists, than a form may
                have fields.
        """
        try:
            body = super().parse(*args, **kwargs)
        except RecursionError as error:
            # `transcription.api.exceptions` says it.
            raise ParseError from error
        _check_count(body, most=settings.DATA_UPLOAD_MAX_NUMBER_FIELDS or 0)
        return body


def _check_count(body: Any, *, most: int) -> None:
    found, unseen = 0, [body]
    while unseen:
        node = unseen.pop()
        if isinstance(node, dict | list):
            found += len(node)
            if found > most:
                raise TooManyFieldsSent
            unseen.extend(node.values() if isinstance(node, dict) else node)


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
