"""What commands draw on a terminal."""

from __future__ import annotations

import sys
from typing import Final

BAR_WIDTH: Final = 30


def progress_bar(share: float) -> str:
    """A bar and a percentage, for a share from 0 to 1."""
    filled = round(BAR_WIDTH * share)
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {share:4.0%}"


def draw_download(done: int, total: int) -> None:
    """Redraw the bar of a download, in bytes; only a terminal gets it."""
    if not sys.stdout.isatty():
        return
    end = "\n" if done >= total else ""
    sys.stdout.write(f"\r{progress_bar(done / total)}{end}")
    sys.stdout.flush()
