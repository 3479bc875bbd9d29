"""The only reader of the environment and of .env: typed, with a default each.

Every WHISPERHUB_<NAME> may instead come from the file named by WHISPERHUB_<NAME>_FILE,
so that a secret need not stand in the environment. A value that cannot be read stops
the start with the variable's name.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from django.core.exceptions import ImproperlyConfigured
from dotenv import dotenv_values

from whisperhub import private_files

PREFIX: Final = "WHISPERHUB_"
UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
TRUE: Final = frozenset({"1", "true", "yes", "on"})
FALSE: Final = frozenset({"0", "false", "no", "off"})

T = TypeVar("T")

# Name without prefix to its default as a user would write it; docs/configuration.md
# is compared with this.
declared: dict[str, str] = {}


def load_file(path: Path) -> None:
    """Take our variables from a .env file, as far as the environment lacks them.

    Children of this process find them in its environment. Other names are left alone.

    Raises:
        ImproperlyConfigured: the file is there and cannot be read.
    """
    if not path.exists():
        return
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "it is no text in UTF-8")
        raise ImproperlyConfigured(f"{path} cannot be read: {reason}.") from error
    # A `$` in a password is no reference.
    found = dotenv_values(stream=io.StringIO(content), interpolate=False)
    given = frozenset(os.environ)
    for variable, value in found.items():
        # The real environment wins, also where it names a file with the value.
        is_given = variable in given or f"{variable}_FILE" in given
        if variable.startswith(PREFIX) and value is not None and not is_given:
            os.environ[variable] = value


def read(name: str, default: str, parse: Callable[[str], T]) -> T:
    """Return the parsed value of one variable and record its name and default.

    Raises:
        ImproperlyConfigured: the value does not parse; the variable is named.
    """
    declared[name] = default
    variable = PREFIX + name
    raw = os.environ.get(variable)
    file_name = os.environ.get(f"{variable}_FILE")
    if raw is None and file_name:
        try:
            raw = Path(file_name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "it is no text in UTF-8")
            raise ImproperlyConfigured(
                f"{variable}_FILE cannot be read: {reason}."
            ) from error
    value = default if raw is None or not raw.strip() else raw
    try:
        return parse(value.strip())
    except ValueError as error:
        raise ImproperlyConfigured(f"{variable}: {error}") from error


def text(name: str, default: str = "") -> str:
    """One line of text."""
    return read(name, default, str)


def integer(
    name: str, default: int, *, least: int | None = None, most: int | None = None
) -> int:
    """A whole number, at least `least` and at most `most`."""

    def parse(raw: str) -> int:
        try:
            number = int(raw)
        except ValueError:
            raise ValueError(f"{raw!r} is not a whole number.") from None
        if least is not None and number < least:
            raise ValueError(f"{number} is below the least allowed, {least}.")
        if most is not None and number > most:
            raise ValueError(f"{number} is above the most allowed, {most}.")
        return number

    return read(name, str(default), parse)


def number(name: str, default: float, *, least: float | None = None) -> float:
    """A number with or without a fraction, at least `least`."""
    return read(name, f"{default:g}", lambda raw: _number(raw, least))


def _number(raw: str, least: float | None) -> float:
    try:
        value = float(raw)
    except ValueError:
        raise ValueError(f"{raw!r} is not a number.") from None
    if not math.isfinite(value):
        raise ValueError(f"{raw!r} is not a number.")
    if least is not None and value < least:
        raise ValueError(f"{raw} is below the least allowed, {least}.")
    return value


def boolean(name: str, default: bool) -> bool:
    """A switch: true/false, yes/no, on/off, 1/0, whatever the case."""

    def parse(raw: str) -> bool:
        if raw.lower() in TRUE:
            return True
        if raw.lower() in FALSE:
            return False
        raise ValueError(f"{raw!r} is neither true nor false.")

    return read(name, "true" if default else "false", parse)


def size(name: str, default: str) -> int:
    """A number of bytes, written as 2GiB, 500MiB, 10K or plain digits."""
    return read(name, default, _size)


def size_limit(name: str, default: str) -> int | None:
    """The same as a limit; `0` or `none`: there is none."""
    return read(
        name,
        default,
        lambda raw: None if raw.lower() == "none" else _size(raw) or None,
    )


def _size(raw: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", raw, re.I)
    if match is None:
        raise ValueError(f"{raw!r} is no size such as 2GiB, 500MiB or 1000000.")
    return int(float(match[1]) * UNITS[match[2].upper()])


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    """One of a closed set of words."""

    def parse(raw: str) -> str:
        for word in allowed:
            if word.lower() == raw.lower():
                return word
        raise ValueError(f"{raw!r} is none of {', '.join(allowed)}.")

    return read(name, default, parse)


def words(name: str, default: str = "") -> list[str]:
    """A list separated by commas; empty items are dropped."""

    def parse(raw: str) -> list[str]:
        return [word.strip() for word in raw.split(",") if word.strip()]

    return read(name, default, parse)


def numbers(name: str, default: str, *, least: float) -> list[float]:
    """One number or several, separated by commas, each at least `least`."""

    def parse(raw: str) -> list[float]:
        return [_number(item.strip(), least) for item in raw.split(",")]

    return read(name, default, parse)


def web_address(name: str) -> str:
    """Where a web server is, without a slash at its end; empty: not given."""

    def parse(raw: str) -> str:
        if raw and not re.fullmatch(r"https?://[^\s/?#][^\s?#]*", raw):
            raise ValueError(f"{raw!r} is no address such as https://example.org.")
        return raw.rstrip("/")

    return read(name, "", parse)


def path(name: str, default: str, *, base: Path) -> Path:
    """A folder or file; a relative one is taken from `base`."""
    return read(name, default, lambda raw: _resolve(raw, base))


def file(name: str, *, base: Path) -> Path | None:
    """A file that must be there; a relative path is taken from `base`. Empty: none."""

    def parse(raw: str) -> Path | None:
        if not raw:
            return None
        found = _resolve(raw, base)
        if not found.is_file():
            raise ValueError(f"there is no file {found}.")
        return found

    return read(name, "", parse)


def folder(
    name: str,
    default: str,
    *,
    base: Path,
    ours: bool = True,
    group: int | None = None,
) -> Path:
    """A folder that is made if it is not there yet, for us alone (0700).

    Args:
        name: of the variable.
        default: relative to `base`, as any relative one.
        base: a folder.
        ours: whether one that is there must be ours and is closed to others. If not,
            that holds inside `base` only: /var/log is not ours to close.
        group: a group that shares it.
    """

    def parse(raw: str) -> Path:
        made = _resolve(raw, base)
        try:
            if ours or made.is_relative_to(base):
                private_files.make_own_folder(made, group=group)
            else:
                made.mkdir(parents=True, exist_ok=True, mode=private_files.FOLDER_MODE)
        except OSError as error:
            raise ValueError(
                f"cannot make the folder {made}: {error.strerror}."
            ) from None
        return made

    return read(name, default, parse)


def group(name: str) -> int | None:
    """A group of this machine, by name or number. Empty: none."""
    return read(name, "", lambda raw: private_files.group_number(raw) if raw else None)


def _resolve(raw: str, base: Path) -> Path:
    try:
        return (base / Path(raw).expanduser()).resolve()
    except RuntimeError:
        raise ValueError(f"{raw!r} names no user of this machine.") from None
