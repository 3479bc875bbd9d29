"""What answers repeat of a request, kept short: a request may be a megabyte long."""

from __future__ import annotations

import reprlib
from typing import Any, Final

# Names of unknown fields that an answer lists.
MOST_NAMES: Final = 10
NAME_LENGTH: Final = 64
VALUE_LENGTH: Final = 100
# A sentence of ours with what it repeats, and with lists of what may be chosen.
SENTENCE_LENGTH: Final = 2000
SENTENCE_END: Final = 100
ELLIPSIS: Final = "…"


def shortened(text: str, length: int, *, end: int = 0) -> str:
    """The text, or its beginning and an ellipsis, `length` characters in all.

    Args:
        text: of any length.
        length: of the result at most.
        end: how many of the last characters to keep behind the ellipsis.
    """
    if len(text) <= length:
        return text
    return text[: length - len(ELLIPSIS) - end] + ELLIPSIS + text[len(text) - end :]


def shortened_sentence(text: str) -> str:
    """A sentence that repeats something of a request; it keeps its own end."""
    return shortened(text, SENTENCE_LENGTH, end=SENTENCE_END)


def shown(value: Any) -> str:
    """A value of a request, as an error may repeat it."""
    # `reprlib` looks at a few members of an object or a list only.
    text = value if isinstance(value, str) else reprlib.repr(value)
    return shortened(text, VALUE_LENGTH)
