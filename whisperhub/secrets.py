"""Secrets that are made at the first start and kept in files only we can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def read_or_create(path: Path, *, length: int = 50) -> str:
    """Return the secret kept in a file (mode 0600), made at the first call.

    Two processes that start at once agree: the file is linked into place whole, and
    the first link wins.
    """
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(length))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text(encoding="ascii").strip()
