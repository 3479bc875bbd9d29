"""The model hub, or the mirror that HF_ENDPOINT names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import requests

from transcription.engines.store.errors import DownloadError

PUBLIC_HUB: Final = "https://huggingface.co"
PROBE_SECONDS: Final = 5.0
SERVER_ERROR: Final = 500
TRUE: Final = frozenset({"1", "yes", "true", "on"})


def endpoint() -> str:
    """Where the hub is."""
    return (os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")


def is_reachable() -> bool:
    """Whether the hub answers; asked before a download, which would try for long."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in TRUE:
        return False
    try:
        answer = requests.head(endpoint(), timeout=PROBE_SECONDS, allow_redirects=False)
    except requests.RequestException:
        return False
    return int(answer.status_code) < SERVER_ERROR


def names_of(repository: str) -> tuple[str, ...]:
    """What operators may call a repository: Whisper's names for it, then its own."""
    from faster_whisper.utils import _MODELS

    return (
        *(name for name, named in _MODELS.items() if named == repository),
        repository,
    )


def cached(name: str, model_dir: Path) -> Path | None:
    """The folder of a model that was downloaded before; None: there is none.

    Raises:
        ValueError: the name is neither a Whisper model nor a repository.
    """
    from faster_whisper.utils import download_model
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = download_model(name, cache_dir=str(model_dir), local_files_only=True)
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None
    folder = Path(found)
    return folder if (folder / "model.bin").is_file() else None


def download(name: str, model_dir: Path) -> Path:
    """Download a model; the hub's library resumes, verifies and shows progress.

    Raises:
        ValueError: the name is neither a Whisper model nor a repository.
        DownloadError: the hub does not have it, or it did not come.
    """
    from faster_whisper.utils import download_model

    try:
        return Path(download_model(name, cache_dir=str(model_dir)))
    except ValueError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DownloadError(f"{endpoint()}: {reason[:200]}") from error
