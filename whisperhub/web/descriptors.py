"""How many connections and files this process may have open at the same time."""

from __future__ import annotations

import resource
from typing import Final

# Above what one process serves; a limit in the millions makes children slow to start.
MANY: Final = 65_536


def allow_many_descriptors() -> None:
    """Raise the limit, as far as the system lets a process do that by itself.

    The usual one, 1024, is there for programs that call select().
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(hard, MANY)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
