"""What an engine or a file hands us becomes what every database can store."""

from __future__ import annotations

import math
from typing import Any


def storable(value: Any) -> Any:
    """A text or a JSON-like value without what some database refuses.

    PostgreSQL stores no NUL character, none of them half a surrogate pair, and JSON
    has no NaN or infinity. A model may emit all three: its vocabulary holds every byte,
    and a probability that underflowed in float16 is NaN.

    Returns:
        Texts without NUL, with U+FFFD for half pairs; None for numbers that are none.
    """
    match value:
        case str():
            if value.isprintable():
                return value
            text = value.replace("\0", "")
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
        case list() | tuple():
            return [storable(item) for item in value]
        case _:
            return value
