"""The installer, with packages and an index of this machine only."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import bootstrap
from tools.bootstrap import BootstrapError, Environment, PackageIndex, Stamp

SCRIPT = Path(bootstrap.__file__)


def write_wheel(
    folder: Path, name: str, version: str, *, code: str = "", extra: str = ""
) -> Path:
    """A package with one module, runnable with `python wheel/name`."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"version = {version!r}\n")
        if code:
            wheel.writestr(f"{name}/__main__.py", code)
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extra}",
        )
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n",
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


class Checkout:
    """A copy of the script with requirements of our own."""

    def __init__(self, root: Path, wheels: Path) -> None:
        self.root = root
        self.wheels = wheels
        (root / "tools").mkdir(parents=True)
        (root / "requirements").mkdir()
        (root / "tools" / SCRIPT.name).write_text(SCRIPT.read_text())

    def require(self, name: str, *lines: str) -> None:
        text = "# made by hand\n" + "".join(f"{line}\n" for line in lines)
        (self.root / "requirements" / f"{name}.txt").write_text(text)

    def run(self, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, f"tools/{SCRIPT.name}", *names],
            cwd=self.root,
            env={
                **os.environ,
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(self.wheels),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def version_of(self, name: str) -> str:
        python = self.root / ".venv/bin/python"
        return subprocess.run(
            [python, "-c", f"import {name}; print({name}.version)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip and nothing else, to be copied."""
    folder = tmp_path_factory.mktemp("environment") / ".venv"
    Environment(folder).prepare()
    return folder


@pytest.fixture
def checkout(new_checkout: Checkout, empty_environment: Path) -> Checkout:
    """A checkout whose packages are still to be installed."""
    shutil.copytree(empty_environment, new_checkout.root / ".venv", symlinks=True)
    return new_checkout


@pytest.fixture
def new_checkout(tmp_path) -> Checkout:
    """A fresh checkout."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for version in ("1.0", "2.0"):
        write_wheel(wheels, "ding", version)
    write_wheel(wheels, "dong", "1.0")
    checkout = Checkout(tmp_path / "checkout", wheels)
    checkout.require("base", "ding==1.0")
    checkout.require("dev", "ding==1.0", "dong==1.0")
    return checkout


def test_it_installs_once_and_is_silent_afterwards(new_checkout):
    first = new_checkout.run("base")
    assert first.returncode == 0, first.stderr
    assert "Installing 1 packages for base" in first.stdout
    (package,) = (new_checkout.root / ".venv").glob("lib/*/site-packages/ding")
    assert list(package.glob("__pycache__/*.pyc"))
    assert new_checkout.version_of("ding") == "1.0"

    again = new_checkout.run("base")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_part_of_what_is_there_needs_nothing(checkout):
    assert checkout.run("base", "dev").returncode == 0

    assert checkout.run("base").stdout == ""
    assert checkout.run("dev").stdout == ""
    assert checkout.version_of("dong") == "1.0"


def test_a_new_pin_is_installed_and_an_old_one_forgotten(checkout):
    checkout.run("dev")
    checkout.require("base", "ding==2.0")

    assert "Installing 1 packages for base" in checkout.run("base").stdout
    assert checkout.version_of("ding") == "2.0"
    assert checkout.version_of("dong") == "1.0"

    # Now dev's pin of the same package is not what is there.
    assert "for dev" in checkout.run("dev").stdout
    assert checkout.version_of("ding") == "1.0"


def test_an_interrupted_installation_is_repaired(checkout):
    checkout.run("base")
    (package,) = (checkout.root / ".venv").glob("lib/*/site-packages/ding")
    (info,) = package.parent.glob("ding-*.dist-info")
    (info / "INSTALLER").unlink()
    (package / "__init__.py").unlink()
    (checkout.root / ".venv/whisperhub-unfinished").touch()

    assert "interrupted; repairing" in checkout.run("base").stdout
    assert checkout.version_of("ding") == "1.0"
    assert checkout.run("base").stdout == ""


@pytest.mark.parametrize("damage", ["an empty folder", "another python"])
def test_a_half_made_environment_is_made_again(new_checkout, damage):
    venv = new_checkout.root / ".venv"
    (venv / "bin").mkdir(parents=True)
    if damage == "another python":
        # As after an upgrade of the system: the link leads to its successor.
        (venv / "bin/python").symlink_to(sys.executable)
        Stamp("/usr/bin/python3.0", frozenset(["ding==1.0"])).write(
            venv / "whisperhub-installed.json"
        )

    result = new_checkout.run("base")

    assert "Replacing" in result.stdout
    assert new_checkout.version_of("ding") == "1.0"


def test_a_package_that_is_not_there_gives_one_sentence(checkout):
    checkout.require("base", "dung==1.0")

    result = checkout.run("base")

    assert result.returncode == 1
    assert "configured for has no dung==1.0 for this Python" in result.stderr
    assert result.stderr.count("\n") == 1
    log = checkout.root / ".venv/install.log"
    assert str(log) in result.stderr
    assert "dung" in log.read_text()


def test_without_a_network_there_is_one_sentence(checkout):
    result = checkout.run(
        "base",
        PIP_NO_INDEX="",
        PIP_FIND_LINKS="",
        PIP_INDEX_URL="http://user:secret@127.0.0.1:1/simple/",
        PIP_RETRIES="0",
    )

    assert result.returncode == 1
    assert "could not be downloaded from 127.0.0.1" in result.stderr
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr


def test_an_unknown_name_gives_one_sentence(new_checkout):
    result = new_checkout.run("basse")

    assert result.returncode == 1
    assert "basse.txt cannot be read" in result.stderr
    assert not (new_checkout.root / ".venv").exists()


# --- Fetching pip --------------------------------------------------------------------

# Stands for pip where it is fetched: installs itself by unpacking its wheel.
FAKE_PIP = """
import sys, sysconfig, zipfile
if "install" in sys.argv:
    zipfile.ZipFile(sys.argv[-1]).extractall(sysconfig.get_paths()["purelib"])
"""


class Index(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; pip's page in the newer form to those who can read it."""

    def do_GET(self) -> None:
        page = Path(self.translate_path(self.path)) / "index.json"
        if page.is_file() and "simple.v1+json" in self.headers["Accept"]:
            body = page.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path, monkeypatch) -> Iterator[Path]:
    """The page of pip in a local index that pip's variables point to."""
    page = tmp_path / "index" / "simple" / "pip"
    page.mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Index, directory=tmp_path / "index")
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield page
    server.shutdown()
    thread.join()
    server.server_close()


def offer(page: Path, *, form: str, spoiled: bool = False) -> None:
    """Put three versions of pip on the page: the middle one is right."""
    files = []
    for version, needs, yanked in (
        ("9.0", "", False),
        ("10.0", ">=3.9", False),
        ("11.0", ">=3.99", False),
        ("12.0", "", True),
        ("13.0b1", "", False),
    ):
        wheel = write_wheel(page, "pip", version, code=FAKE_PIP)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if spoiled:
            digest = digest[::-1]
        files.append((wheel.name, digest, needs, yanked))
    if form == "json":
        content = {
            "files": [
                {
                    "filename": name,
                    "url": name,
                    "hashes": {"sha256": digest},
                    "requires-python": needs or None,
                    "yanked": yanked,
                }
                for name, digest, needs, yanked in files
            ]
        }
        (page / "index.json").write_text(json.dumps(content))
    else:
        links = "".join(
            f'<a href="{name}#sha256={digest}" {"data-yanked" if yanked else ""} '
            f'data-requires-python="{needs.replace(">", "&gt;")}">{name}</a>'
            for name, digest, needs, yanked in files
        )
        (page / "index.html").write_text(f"<html><body>{links}</body></html>")


@pytest.mark.parametrize("form", ["json", "html"])
def test_pip_comes_from_the_index_where_the_system_has_none(
    index, tmp_path, monkeypatch, form
):
    offer(index, form=form)
    # Neither ensurepip nor a pip beside the interpreter that runs us.
    run = Environment.run
    failed = subprocess.CompletedProcess[str]([], 1, "")

    def run_without_ensurepip(
        environment: Environment, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        if "ensurepip" in arguments:
            return failed
        return run(environment, *arguments)

    monkeypatch.setattr(Environment, "run", run_without_ensurepip)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    environment = Environment(tmp_path / ".venv")

    environment.prepare()

    (info,) = (tmp_path / ".venv").glob("lib/*/site-packages/pip-*.dist-info")
    assert info.name == "pip-10.0.dist-info"
    assert not list((tmp_path / ".venv").glob("*.whl"))


def test_a_wheel_with_another_hash_is_refused(index, tmp_path):
    offer(index, form="json", spoiled=True)

    with pytest.raises(BootstrapError, match="not the one its index names"):
        PackageIndex.configured().fetch_pip(tmp_path)

    assert not list(tmp_path.glob("*.whl"))


def test_an_index_that_does_not_answer_is_named_without_credentials(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:1/simple")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)

    with pytest.raises(BootstrapError, match=r"127\.0\.0\.1") as caught:
        PackageIndex.configured().fetch_pip(tmp_path)

    assert "secret" not in str(caught.value)


def test_the_configuration_of_pip_is_read_in_its_order(tmp_path, monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_CERT", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    user_file = tmp_path / "config/pip/pip.conf"
    user_file.parent.mkdir(parents=True)
    user_file.write_text(
        "[global]\nindex-url = https://user.example/simple\ncert = /user.pem\n"
        "[install]\nextra-index-url =\n    https://one.example\n    https://two.example\n"
    )
    named_file = tmp_path / "named.conf"
    named_file.write_text("[global]\nindex_url = https://named.example/simple\n")

    options = bootstrap.pip_options()
    assert options["index-url"] == "https://user.example/simple"
    assert options["extra-index-url"].split() == [
        "https://one.example",
        "https://two.example",
    ]

    monkeypatch.setenv("PIP_CONFIG_FILE", str(named_file))
    options = bootstrap.pip_options()
    assert options["index-url"] == "https://named.example/simple"
    assert options["cert"] == "/user.pem"

    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    assert PackageIndex.configured().name == "variable.example"

    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert PackageIndex.configured().name == "pypi.org"
