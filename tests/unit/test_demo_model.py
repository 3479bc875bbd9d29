import json
import os
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from transcription.accuracy import word_error_rate
from transcription.engines import demo_model
from transcription.engines.demo_model import packed

FOLDER_FILES = {
    "model.bin",
    "config.json",
    "vocabulary.json",
    "tokenizer.json",
    "preprocessor_config.json",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_model.ctranslate2_folder(tmp_path_factory.mktemp("models"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_committed_files_stay_small():
    package = Path(demo_model.__file__).parent

    size = sum(
        f.stat().st_size for f in package.rglob("*") if "__pycache__" not in f.parts
    )

    assert size < 13_000_000


def test_revision_belongs_to_the_committed_files():
    weights = (packed.DATA / packed.WEIGHTS_FILE).read_bytes()
    tokenizer = (packed.DATA / packed.TOKENIZER_FILE).read_bytes()

    revision = packed.revision_of(weights, tokenizer, packed.description())

    assert demo_model.revision() == revision


def test_description_agrees_with_the_package():
    description = packed.description()

    assert description["name"] == demo_model.NAME
    assert description["notice"] == demo_model.NOTICE
    assert description["languages"] == [s.language for s in demo_model.samples()]


def test_compact_weights_spread_out_to_what_they_were():
    weights = packed.read_weights()

    again = packed.spread(
        packed.compact(weights), packed.description()["dims"]["n_vocab"]
    )

    assert weights.keys() == again.keys()
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_embedding_has_full_height_and_rows_for_all_timestamps():
    embedding = packed.read_weights()[packed.EMBEDDING]

    assert embedding.shape == (51_865, 192)
    assert np.any(embedding[-1501:] != 0, axis=1).all()


def test_folder_is_complete(installed):
    assert {file.name for file in installed.iterdir()} == FOLDER_FILES
    assert demo_model.revision() in installed.name
    config = json.loads((installed / "config.json").read_bytes())
    assert config["alignment_heads"] == [list(h) for h in demo_model.alignment_heads()]
    assert len(json.loads((installed / "vocabulary.json").read_bytes())) == 51_865


def test_second_call_leaves_the_folder_alone(installed):
    before = (installed / "model.bin").stat()

    again = demo_model.ctranslate2_folder(installed.parent)

    assert again == installed
    after = (again / "model.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_installs_in_a_few_seconds(tmp_path):
    began = time.process_time()

    demo_model.ctranslate2_folder(tmp_path)

    assert time.process_time() - began < 10


def test_loser_of_the_race_takes_the_winners_folder(tmp_path, monkeypatch):
    winner = tmp_path / f"demo-ctranslate2-{demo_model.revision()}"
    flush = demo_model.installation._flush

    def other_process_wins(path: Path) -> None:
        flush(path)
        winner.mkdir()
        (winner / "model.bin").write_bytes(b"of the winner")

    monkeypatch.setattr(demo_model.installation, "_flush", other_process_wins)

    folder = demo_model.ctranslate2_folder(tmp_path)

    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "model.bin").read_bytes() == b"of the winner"


def test_failed_installation_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(path: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(demo_model.installation, "_flush", full_disk)

    with pytest.raises(OSError, match="No space left"):
        demo_model.ctranslate2_folder(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_new_revision_replaces_the_old_one(tmp_path):
    old = tmp_path / "demo-ctranslate2-000000000000"
    old.mkdir()
    (old / "model.bin").touch()
    abandoned = tmp_path / ".demo-ctranslate2-000000000000.abcd.new"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    being_written = tmp_path / ".demo-ctranslate2-000000000000.efgh.new"
    being_written.mkdir()
    (tmp_path / "another-model").mkdir()

    folder = demo_model.ctranslate2_folder(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {
        folder.name,
        being_written.name,
        "another-model",
    }


def test_samples_are_wave_files_of_the_stated_length():
    for sample in demo_model.samples():
        with wave.open(str(sample.path)) as file:
            assert (file.getnchannels(), file.getframerate()) == (1, 16_000)
            assert file.getnframes() / 16_000 == pytest.approx(sample.seconds, abs=0.01)
        assert set(sample.texts) == {"en", "es", "zh"}
        assert all(sample.texts.values())


def test_error_rate_counts_words_and_chinese_characters():
    assert word_error_rate("My car is red.", "my car is red", language="en") == 0
    assert (
        word_error_rate("My car is red.", "My bar is red today.", language="en") == 0.5
    )
    assert (
        word_error_rate("我的汽车是红色的。", "我的火车是红色", language="zh") == 2 / 8
    )
