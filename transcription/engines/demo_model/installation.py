"""Spreads the packed demo model out into what the engines load.

Each form is written beside its place and renamed into it, so that what is there is
complete: processes that start at once each make one, and the first rename wins.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from transcription.engines.demo_model import packed

# What a killed process left behind is no longer being written after this time.
ABANDONED_SECONDS = 3600.0


def ctranslate2_folder(parent: Path) -> Path:
    """Make the folder that faster-whisper loads, unless it is there.

    Args:
        parent: where the folder stands; made if missing. Folders of other revisions
            in it are removed when this one is made.
    """

    def write(folder: Path) -> None:
        # Costs half a second, which only the first start has to pay.
        from transcription.engines.demo_model import ctranslate2_form

        folder.mkdir()
        ctranslate2_form.write_folder(
            folder,
            packed.read_weights(),
            packed.description(),
            packed.tokenizer_json(),
        )

    return _install(parent, "demo-ctranslate2-", "", write)


def openai_checkpoint(parent: Path) -> Path:
    """Make the file that `whisper.load_model` loads, unless it is there; needs torch.

    The file has no place for the alignment heads: hand dump_alignment_heads() to
    `set_alignment_heads` of the loaded model.
    """

    def write(file: Path) -> None:
        from transcription.engines.demo_model import openai_form

        openai_form.write_checkpoint(
            file, packed.read_weights(), packed.description()["dims"]
        )

    return _install(parent, "demo-openai-", ".pt", write)


def _install(
    parent: Path, prefix: str, suffix: str, write: Callable[[Path], None]
) -> Path:
    final = parent / f"{prefix}{packed.revision()}{suffix}"
    if final.exists():
        return final
    parent.mkdir(parents=True, exist_ok=True)
    new = parent / f".{final.name}.{secrets.token_hex(4)}.new"
    try:
        write(new)
        _flush(new)
        _rename(new, final)
    finally:
        _remove(new)
    for other in parent.glob(f"{prefix}*{suffix}"):
        if other != final:
            _remove(other)
    for left in parent.glob(f".{prefix}*.new"):
        if _age_seconds(left) > ABANDONED_SECONDS:
            _remove(left)
    return final


def _rename(new: Path, final: Path) -> None:
    try:
        new.rename(final)
    except OSError:
        # A folder cannot be renamed onto one that is not empty: another process
        # finished first, and its folder holds the same bytes.
        if not final.is_dir():
            raise


def _flush(path: Path) -> None:
    """Bring the bytes to the disk before the rename can get there."""
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
