"""Makes .venv and installs requirements files into it, or finds that all is there.

    python3 tools/bootstrap.py base dev

Needs Python 3.11 and nothing else: neither python3-venv nor pip, and no root. When
nothing is to be done it takes a few milliseconds, so that every `make` target may call
it. Packages come from the index that pip is configured for.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older one must be told so
    import os
    import shutil
    import subprocess

    for name in ("python3.13", "python3.12", "python3.11"):
        other = shutil.which(name)
        # A version manager may have a shim for a Python that is not installed.
        if other and not subprocess.call([other, "-c", ""], stderr=subprocess.DEVNULL):
            os.execv(other, [other, *sys.argv])  # noqa: S606
    sys.exit(
        "WhisperHub needs Python 3.11 or later; this is Python {}.{} ({}).".format(
            *sys.version_info[:2], sys.executable
        )
    )

import base64
import configparser
import contextlib
import fcntl
import hashlib
import html.parser
import json
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PUBLIC_INDEX: Final = "https://pypi.org/simple/"
# What a first installation downloads, in MB: a statement for people, not a limit. On
# Linux PyTorch comes with CUDA, unless pip is configured to find another build.
DOWNLOAD_MB: Final = {
    "base": 175,
    "dev": 90,
    "openai-whisper": 2500 if sys.platform == "linux" else 150,
}
PROGRESS_SECONDS: Final = 5.0
FETCH_SECONDS: Final = 60.0

# In pip's output, what tells a missing network from anything else.
NO_NETWORK: Final = re.compile(
    r"Failed to establish a new connection|name resolution|NewConnectionError|"
    r"NameResolutionError|Network is unreachable|ConnectTimeout|ReadTimeout|"
    r"Could not fetch URL|ProxyError|Connection refused|Max retries exceeded",
    re.IGNORECASE,
)
NO_SPACE: Final = re.compile(r"No space left on device", re.IGNORECASE)
NOT_FOUND: Final = re.compile(r"No matching distribution found for (\S+)")


class BootstrapError(Exception):
    """The installation cannot go on; the message is one sentence for the user."""


def say(line: str) -> None:
    """Tell the user what happens; a reader that went away is no error."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


# --- What is wanted and what is there ------------------------------------------------


def requirement_lines(path: Path) -> list[str]:
    """The requirements in a file, without comments.

    Raises:
        BootstrapError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BootstrapError(f"{path} cannot be read: {error.strerror}.") from error
    lines = (line.split(" #")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def package_of(line: str) -> str:
    """The name in a requirement, in the index's spelling."""
    match = re.match(r"[A-Za-z0-9._-]+", line)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else line


@dataclass(frozen=True)
class Stamp:
    """What an environment of ours holds; lies in it as a file.

    Attributes:
        python: the real path of its interpreter: another one after the system was
            upgraded, and then the packages are of no use to it.
        lines: the requirements that were installed, from all files so far.
    """

    python: str
    lines: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> "Stamp | None":
        """Read it; None where there is none or it makes no sense."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(content["python"], frozenset(content["lines"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write it in one step."""
        content = {"python": self.python, "lines": sorted(self.lines)}
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)

    def with_lines(self, lines: Sequence[str]) -> "Stamp":
        """The stamp after `lines` were installed: other pins of theirs are gone."""
        replaced = {package_of(line) for line in lines}
        kept = {line for line in self.lines if package_of(line) not in replaced}
        return Stamp(self.python, frozenset(kept.union(lines)))


# --- The environment -----------------------------------------------------------------


class Environment:
    """The virtual environment of one checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.stamp_file = folder / "whisperhub-installed.json"
        # Exists while pip works: after a crash it tells that packages may be halves.
        self.unfinished = folder / "whisperhub-unfinished"
        self.log_file = folder / "install.log"

    def real_python(self) -> str:
        """The interpreter behind its links."""
        return str(self.python.resolve())

    def stamp(self) -> Stamp | None:
        """What was installed, if the environment still has the same interpreter."""
        stamp = Stamp.read(self.stamp_file)
        if stamp is None or self.unfinished.exists() or not self.python.exists():
            return None
        return stamp if stamp.python == self.real_python() else None

    def missing(self, names: Sequence[str], requirements: Path) -> list[str]:
        """Those of the requirements files that hold a line not installed yet."""
        stamp = self.stamp()
        installed = stamp.lines if stamp is not None else frozenset()
        return [
            name
            for name in names
            if not installed.issuperset(requirement_lines(requirements / f"{name}.txt"))
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter, without the user's variables that would mislead it."""
        return subprocess.run(
            [str(self.python), *arguments],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )

    def has_pip(self) -> bool:
        """Whether it is whole enough to install into."""
        try:
            return self.run("-m", "pip", "--version").returncode == 0
        except OSError:
            return False

    def prepare(self) -> None:
        """Make it, unless there is one that works, whoever made that.

        Raises:
            BootstrapError: it cannot be made.
        """
        stamp = Stamp.read(self.stamp_file)
        foreign = stamp is not None and stamp.python != self.real_python()
        if not foreign and self.python.exists() and self.has_pip():
            if self.unfinished.exists():
                say("The last installation was interrupted; repairing it.")
                self.drop_halves()
            return
        if self.folder.is_symlink():
            raise BootstrapError(
                f"{self.folder} is a link to an environment that does not work; "
                "delete the link."
            )
        if self.folder.exists():
            say(f"Replacing {self.folder}, which is incomplete or of another Python.")
            shutil.rmtree(self.folder)
        version = ".".join(map(str, sys.version_info[:3]))
        say(f"Making {self.folder} with Python {version}.")
        # pip comes afterwards: with it, Debian's venv wants a package of its own.
        venv.create(self.folder, with_pip=False, symlinks=True)
        self.bring_pip()

    def drop_halves(self) -> None:
        """Let pip install again what it was killed over.

        It writes INSTALLER after a package's files; without it the package may be a
        half that pip would take for installed.
        """
        for info in self.folder.glob("lib/python*/site-packages/*.dist-info"):
            if not (info / "INSTALLER").exists():
                shutil.rmtree(info)

    def bring_pip(self) -> None:
        """Install pip: from Python itself, else by the system's pip, else by hand.

        Raises:
            BootstrapError: none of these works.
        """
        if self.run("-m", "ensurepip", "--default-pip").returncode == 0:
            return
        # --python is an option of pip 22.3 and later.
        system = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", str(self.python)),
                *("install", "--disable-pip-version-check", "--no-input", "pip"),
            ],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if system.returncode == 0 and self.has_pip():
            return
        say("Fetching pip from the package index.")
        wheel = PackageIndex.configured().fetch_pip(self.folder)
        # A wheel is a zip file, and Python runs what lies in one.
        self.run_pip([str(wheel)], pip=[str(wheel / "pip")], total=0)
        wheel.unlink()

    def install(self, names: Sequence[str], requirements: Path) -> None:
        """Install requirements files; what is installed beyond them stays.

        Raises:
            BootstrapError: pip failed; its output is in the log file.
        """
        self.prepare()
        files = [requirements / f"{name}.txt" for name in names]
        lines = [line for file in files for line in requirement_lines(file)]
        total = len({package_of(line) for line in lines})
        size = sum(DOWNLOAD_MB.get(name, 0) for name in names)
        say(
            f"Installing {total} packages for {', '.join(names)}; the first time "
            f"this downloads up to {size} MB."
        )
        self.unfinished.touch()
        arguments = [item for file in files for item in ("-r", str(file))]
        self.run_pip(["--no-compile", *arguments], pip=["-m", "pip"], total=total)
        self.compile()
        before = Stamp.read(self.stamp_file)
        stamp = Stamp(self.real_python(), before.lines if before else frozenset())
        stamp.with_lines(lines).write(self.stamp_file)
        self.unfinished.unlink()
        say("Everything is installed.")

    def compile(self) -> None:
        """Compile what was installed, on all cores: pip does it on one, file by file.

        A package may hold files that are no Python of this version.
        """
        say("  compiling")
        for folder in self.folder.glob("lib/python*/site-packages"):
            self.run("-m", "compileall", "-q", "-q", "-j", "0", str(folder))

    def run_pip(self, arguments: list[str], *, pip: list[str], total: int) -> None:
        """Run `pip install`, with its output in the log file and progress for people.

        Raises:
            BootstrapError: it failed.
        """
        command = [
            *(str(self.python), *pip, "install", "--disable-pip-version-check"),
            *("--no-input", "--progress-bar", "off", *arguments),
        ]
        # Two statements: Python before 3.9 cannot parse them as one, and must get as
        # far as the first lines of this file.
        with self.log_file.open("w", encoding="utf-8") as log:  # noqa: SIM117
            with subprocess.Popen(
                command,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process:
                if process.stdout is None:
                    raise RuntimeError("pip was started without a pipe.")
                follow(process.stdout, log, total)
        if process.returncode != 0:
            raise BootstrapError(
                f"{explain(self.log_file.read_text(encoding='utf-8'))} "
                f"pip's output is in {self.log_file}."
            )


def follow(output: IO[str], log: IO[str], total: int) -> None:
    """Copy pip's output into the log and say now and then how far it is."""
    collected = 0
    unpacking = False
    said_at = time.monotonic()
    for line in output:
        log.write(line)
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            collected += 1
        if line.startswith("Installing collected packages"):
            say("  unpacking")
            unpacking = True
        elif unpacking:
            continue
        elif time.monotonic() - said_at >= PROGRESS_SECONDS and total:
            said_at = time.monotonic()
            say(f"  {min(collected, total)} of {total} packages")


def explain(output: str) -> str:
    """One sentence on why pip failed."""
    index = PackageIndex.configured()
    if NO_SPACE.search(output):
        return "The packages do not fit on the disk."
    missing = NOT_FOUND.search(output)
    # Told not to retry, pip takes an index that is away for an empty one.
    if NO_NETWORK.search(output) or (missing and not index.answers()):
        return (
            f"The packages could not be downloaded from {index.name}: check the "
            "network, or set PIP_INDEX_URL to an index that can be reached."
        )
    if missing:
        return f"{index.name} has no {missing[1]} for this Python and this machine."
    return "pip could not install the packages."


def clean_environment() -> dict[str, str]:
    """Our environment without what would send packages elsewhere."""
    unwanted = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    # A configuration file may ask for these; inside an environment they fail.
    return {**kept, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}


# --- Fetching pip itself -------------------------------------------------------------


@dataclass(frozen=True)
class Wheel:
    """A file the index offers."""

    version: tuple[int, ...]
    url: str
    sha256: str


class SimplePage(html.parser.HTMLParser):
    """The links of a PEP 503 page, as the files of a PEP 691 answer."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[dict[str, object]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one link."""
        values = dict(attrs)
        address, _, fragment = (values.get("href") or "").partition("#")
        if tag != "a" or not address:
            return
        method, _, digest = fragment.partition("=")
        self.files.append(
            {
                "filename": urllib.parse.unquote(address.rpartition("/")[2]),
                "url": address,
                "hashes": {method: digest},
                "yanked": "data-yanked" in values,
                "requires-python": values.get("data-requires-python"),
            }
        )


class PackageIndex:
    """A package index as pip's own configuration describes it."""

    def __init__(self, urls: Sequence[str], *, certificates: str | None) -> None:
        self._urls = urls
        self._certificates = certificates

    @classmethod
    def configured(cls) -> "PackageIndex":
        """The index that pip would use."""
        options = pip_options()
        if options.get("no-index", "").lower() in {"1", "yes", "true", "on"}:
            return cls([], certificates=None)
        urls = [
            options.get("index-url") or PUBLIC_INDEX,
            *options.get("extra-index-url", "").split(),
        ]
        return cls(urls, certificates=options.get("cert"))

    @property
    def name(self) -> str:
        """Its host; credentials in the URL stay untold."""
        if not self._urls:
            return "The folder pip is configured for"
        return urllib.parse.urlsplit(self._urls[0]).hostname or self._urls[0]

    def answers(self) -> bool:
        """Whether the first of its addresses gives a page."""
        if not self._urls:
            return True
        try:
            self._get(f"{self._urls[0].rstrip('/')}/pip/")
        except (OSError, ValueError):
            return False
        return True

    def fetch_pip(self, folder: Path) -> Path:
        """Download the newest wheel of pip that runs here, checked against its hash.

        Raises:
            BootstrapError: no index gave one.
        """
        wheels: list[Wheel] = []
        problem = ""
        for url in self._urls:
            try:
                wheels += self._wheels_of_pip(url)
            except (OSError, ValueError) as error:
                problem = problem or str(getattr(error, "reason", error))
        if not wheels:
            raise BootstrapError(
                f"pip could not be downloaded from {self.name}"
                f"{f' ({problem})' if problem else ''}: check the network, "
                "or set PIP_INDEX_URL to an index that can be reached."
            )
        wheel = max(wheels, key=lambda wheel: wheel.version)
        try:
            content, _ = self._get(wheel.url)
        except OSError as error:
            raise BootstrapError(f"pip could not be downloaded: {error}.") from error
        if hashlib.sha256(content).hexdigest() != wheel.sha256:
            raise BootstrapError(
                f"The wheel of pip from {self.name} is not the one its index names; "
                "it was not used."
            )
        version = ".".join(map(str, wheel.version))
        path = folder / f"pip-{version}-py3-none-any.whl"
        path.write_bytes(content)
        return path

    def _wheels_of_pip(self, index: str) -> list[Wheel]:
        page = f"{index.rstrip('/')}/pip/"
        content, kind = self._get(page)
        if kind == "application/vnd.pypi.simple.v1+json":
            files = json.loads(content)["files"]
        else:
            parser = SimplePage()
            parser.feed(content.decode("utf-8", "replace"))
            files = parser.files
        wheels = []
        for file in files:
            # Final releases only: those with letters in the version do not match.
            match = re.fullmatch(r"pip-([0-9.]+)-py3-none-any\.whl", file["filename"])
            digest = file["hashes"].get("sha256")
            if not match or not digest or file.get("yanked"):
                continue
            if not runs_here(file.get("requires-python") or ""):
                continue
            version = tuple(map(int, match[1].split(".")))
            url = urllib.parse.urljoin(page, file["url"])
            wheels.append(Wheel(version, url, digest))
        return wheels

    def _get(self, url: str) -> tuple[bytes, str]:
        """Fetch one address; return body and content type."""
        parts = urllib.parse.urlsplit(url)
        headers = {
            "Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5",
            "User-Agent": "whisperhub-bootstrap",
        }
        if parts.username is not None:
            pair = f"{parts.username}:{parts.password or ''}"
            token = base64.b64encode(urllib.parse.unquote(pair).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
            url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if parts.scheme == "file":
            path = Path(urllib.request.url2pathname(parts.path))
            return (path / "index.html" if path.is_dir() else path).read_bytes(), ""
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        context = ssl.create_default_context(cafile=self._certificates)
        with urllib.request.urlopen(  # noqa: S310 - the index is the user's choice
            request, timeout=FETCH_SECONDS, context=context
        ) as answer:
            return answer.read(), answer.headers.get_content_type()


def runs_here(requires_python: str) -> bool:
    """Whether a Requires-Python such as `>=3.9` allows this Python."""
    for least in re.findall(r">=\s*(\d+)\.(\d+)", requires_python):
        if sys.version_info[:2] < tuple(map(int, least)):
            return False
    return True


def pip_options() -> dict[str, str]:
    """What pip's files and variables say, read in pip's order, the last one winning."""
    options: dict[str, str] = {}
    for path in pip_config_files():
        parser = configparser.RawConfigParser()
        with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
            parser.read(path, encoding="utf-8")
        for section in ("global", "install"):
            if parser.has_section(section):
                options |= {
                    name.replace("_", "-"): value
                    for name, value in parser.items(section)
                }
    for name in ("index-url", "extra-index-url", "cert", "no-index"):
        value = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
        if value:
            options[name] = value
    return options


def pip_config_files() -> list[Path]:
    """Where pip looks for its configuration."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path.home()
    if sys.platform == "darwin":
        support = "Library/Application Support/pip/pip.conf"
        files = [Path("/", support), home / ".pip/pip.conf", home / support]
    else:
        shared = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        files = [Path(folder, "pip/pip.conf") for folder in shared.split(":")]
        files += [Path("/etc/pip.conf"), home / ".pip/pip.conf"]
    config_home = os.environ.get("XDG_CONFIG_HOME") or home / ".config"
    files.append(Path(config_home, "pip/pip.conf"))
    if named:
        files.append(Path(named))
    return files


# --- The command ---------------------------------------------------------------------


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one installation into a checkout at a time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another installation into this folder.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def bootstrap(names: Sequence[str], root: Path) -> None:
    """See to it that the named requirements are installed in `root`'s .venv.

    Raises:
        BootstrapError: they cannot be.
    """
    environment = Environment(root / ".venv")
    requirements = root / "requirements"
    if not environment.missing(names, requirements):
        return
    with alone(root):
        missing = environment.missing(names, requirements)
        if missing:
            environment.install(missing, requirements)


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    if not arguments or any(name.startswith("-") for name in arguments):
        print("usage: python3 tools/bootstrap.py base [dev] [openai-whisper]")
        return 2
    try:
        bootstrap(arguments, ROOT)
    except BootstrapError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"The installation failed: {what}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the next run goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
