"""What files take on their volume."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# What stat counts blocks in, whatever those of the file system are.
BLOCK_BYTES: Final = 512


def occupied_bytes(path: Path) -> int:
    """The blocks of a file; its holes take nothing. 0 if it is gone."""
    try:
        return path.stat().st_blocks * BLOCK_BYTES
    except FileNotFoundError:
        return 0
