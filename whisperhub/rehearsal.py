"""A request asked without its body, to refuse it before a large file is read.

Who may not upload is told so by the view that would take the file: its key, scope and
quota are looked at once, in one place, whenever that is.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

# Where the scope of a request that is rehearsed has its rehearsal.
SCOPE_KEY: Final = "whisperhub.rehearsal"


@dataclass
class Rehearsal:
    """What came of asking.

    Attributes:
        passed: the view would go on to read the body. Otherwise its answer is the one
            for the client.
    """

    passed: bool = False


def rehearsal_of(request: Any) -> Rehearsal | None:
    """The rehearsal that a request of Django is part of; None: it is in earnest."""
    scope: MutableMapping[str, Any] = getattr(request, "scope", {})
    return scope.get(SCOPE_KEY)
