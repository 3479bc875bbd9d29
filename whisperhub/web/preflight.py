"""The mark of a request that is asked about only; `admission.py` asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest

# What such a request of Django has.
MARK: Final = "_whisperhub_preflight"


@dataclass
class Preflight:
    """What came of asking.

    Attributes:
        is_passed: the view would go on and read the body.
        is_known: it knows who sends the request.
    """

    is_passed: bool = False
    is_known: bool = False


def is_preflight(request: HttpRequest) -> bool:
    """Whether a request is asked about only, so that it must change nothing."""
    return hasattr(request, MARK)
