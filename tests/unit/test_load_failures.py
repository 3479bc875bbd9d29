"""What an operator, and every client, reads of a model that did not load."""

from __future__ import annotations

from pathlib import Path

import pytest

from transcription.engines.faster_whisper import explain_load_failure
from transcription.engines.plan import SlotPlan


def slot_of(model: str) -> SlotPlan:
    return SlotPlan("a", "cuda:0", model, "faster-whisper", "default")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Unable to open file 'model.bin' in model '{folder}'"),
        RuntimeError("File {folder}/model.bin is incomplete.\nAt 6"),
        ValueError("{folder} is odd"),
        RuntimeError(""),
    ],
    ids=str,
)
def test_no_folder_of_the_server_is_named(tmp_path: Path, error: Exception):
    folder = tmp_path / "my-model"
    folder.mkdir()
    raised = type(error)(str(error).format(folder=folder))

    sentence = explain_load_failure(slot_of(str(folder)), raised)

    assert "'my-model'" in sentence
    assert str(tmp_path) not in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert not sentence.endswith((" .", "..", ":."))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("Invalid model size 'hugo', expected one of: tiny"), "no Whisper"),
        (OSError("[Errno -2] Name or service not known"), "could not be downloaded"),
        (RuntimeError("CUDA failed with error out of memory"), "out of memory"),
    ],
)
def test_the_cause_is_told(error, words):
    sentence = explain_load_failure(slot_of("hugo"), error)

    assert words in sentence
    assert sentence.endswith(".")
