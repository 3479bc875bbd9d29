"""The model folder: what lies in it, whole or not, and who writes to it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transcription.engines.store import hub
from transcription.engines.store.errors import StoreError
from transcription.engines.store.manifest import PACKAGED, PackagedModel

STORE: Final = "store"
PARTIAL: Final = ".partial"
# Of the hub's own cache: models--owner--name/snapshots/revision/files.
HUB_PREFIX: Final = "models--"
SHA256_LENGTH: Final = 64


@dataclass(frozen=True)
class StoredModel:
    """A model that lies on this machine.

    Attributes:
        names: what it may be called; the first is shown.
        source: `package index` or `hub`.
        digest: SHA-256 of its weights, as recorded when it came; empty: unknown.
    """

    names: tuple[str, ...]
    source: str
    folder: Path
    size_bytes: int
    digest: str

    @property
    def name(self) -> str:
        """What it is shown as."""
        return self.names[0]


def packaged_folder(model_dir: Path, model: PackagedModel) -> Path:
    """Where a model of the manifest stands when it is whole."""
    return model_dir / STORE / f"{model.name}-{model.revision}"


def stored_models(model_dir: Path) -> list[StoredModel]:
    """What lies in the model folder, by name."""
    found = []
    for model in PACKAGED.values():
        folder = packaged_folder(model_dir, model)
        if folder.is_dir():
            digest = model.files[0].sha256
            found.append(
                StoredModel(
                    (model.name,), "package index", folder, _size(folder), digest
                )
            )
    for folder in sorted(model_dir.glob(f"{HUB_PREFIX}*")):
        weights = sorted(folder.glob("snapshots/*/model.bin"))
        if weights:
            repository = folder.name.removeprefix(HUB_PREFIX).replace("--", "/", 1)
            digest = _digest_by_name(weights[-1])
            names = hub.names_of(repository)
            found.append(StoredModel(names, "hub", folder, _size(folder), digest))
    return sorted(found, key=lambda stored: stored.name)


def revision_of(folder: Path) -> str:
    """Which conversion of a model a folder of the store or of the hub's cache holds.

    Returns:
        The hub's commit, or what the digest of a packaged model begins with; empty for
        a folder of the operator's own.
    """
    if folder.parent.name == "snapshots":
        return folder.name
    packaged = {f"{model.name}-{model.revision}": model for model in PACKAGED.values()}
    model = packaged.get(folder.name)
    return model.revision if model and folder.parent.name == STORE else ""


def faults(stored: StoredModel) -> list[str]:
    """What is wrong with the files of a model; none: it is whole."""
    if stored.source == "hub":
        return _hub_faults(stored.folder)
    model = PACKAGED[stored.name]
    wrong = []
    for file in model.files:
        path = stored.folder / file.name
        if not path.is_file():
            wrong.append(f"{file.name} is missing")
        elif path.stat().st_size != file.size_bytes:
            wrong.append(f"{file.name} has another size")
        elif sha256_of(path) != file.sha256:
            wrong.append(f"{file.name} has another SHA-256")
    return wrong


def remove(stored: StoredModel) -> None:
    """Delete a model; the folder is gone in one step, its bytes afterwards."""
    hidden = stored.folder.with_name(f".{stored.folder.name}.removed")
    shutil.rmtree(hidden, ignore_errors=True)
    stored.folder.rename(hidden)
    shutil.rmtree(hidden)


@contextmanager
def locked(model_dir: Path, name: str) -> Iterator[None]:
    """Be the only process that fetches or removes this model; waits for another.

    Raises:
        StoreError: the folder cannot be written to.
    """
    folder = model_dir / STORE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f".{name.replace('/', '--')}.lock").open("w")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written to: {error.strerror}.") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hub_faults(folder: Path) -> list[str]:
    """The hub's cache calls a large file by its SHA-256."""
    wrong = []
    for path in sorted(folder.glob("snapshots/*/*")):
        if not path.exists():
            wrong.append(f"{path.name} is missing")
            continue
        named = _digest_by_name(path)
        if named and sha256_of(path) != named:
            wrong.append(f"{path.name} has another SHA-256")
    if any(folder.glob("blobs/*.incomplete")):
        wrong.append("a download was cut")
    return wrong


def _digest_by_name(path: Path) -> str:
    name = path.resolve().name
    return name if len(name) == SHA256_LENGTH else ""


def _size(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
