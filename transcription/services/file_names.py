"""Names that others gave to files, as labels."""

from __future__ import annotations

from typing import Final

FILE_NAME_LENGTH: Final = 255


def clean_file_name(name: str | None) -> str:
    """A file's name as a label: no folders, no control characters."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:FILE_NAME_LENGTH]
