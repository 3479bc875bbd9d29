"""Scripted models: loaded by the real engine, they say their script at any setting."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import WhisperModel
from tokenizers import Tokenizer

from tools import scripted_model
from tools.scripted_model import SHAPES, TEXT
from transcription.engines.demo_model.ctranslate2_form import vocabulary

RATE = 16_000


def load(folder: Path) -> WhisperModel:
    return WhisperModel(str(folder), device="cpu", cpu_threads=1)


@pytest.fixture(scope="module")
def nano(tmp_path_factory) -> WhisperModel:
    folder = tmp_path_factory.mktemp("models") / "nano"
    began = time.process_time()

    scripted_model.build(folder, "nano")

    assert time.process_time() - began < 5
    return load(folder)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beam_size": 1},
        {"beam_size": 10},
        {"temperature": 1.0},
        {"language": "zh", "task": "translate"},
        {"without_timestamps": True},
    ],
    ids=str,
)
def test_every_window_says_the_script(nano, options):
    noise = np.random.default_rng(0).standard_normal(40 * RATE).astype(np.float32)

    segments, info = nano.transcribe(0.05 * noise, **options)
    texts = [segment.text for segment in segments]

    assert "".join(texts).split() == 2 * TEXT.split()
    assert (info.language == "en") == ("language" not in options)


def test_segments_have_the_times_of_the_script(nano):
    segments, _ = nano.transcribe(np.zeros(30 * RATE, np.float32))
    times = [(round(s.start, 2), round(s.end, 2)) for s in segments]

    assert times == [(0.0, 9.8), (10.0, 19.8), (20.0, 29.9)]


def test_words_are_timed(nano):
    segments, _ = nano.transcribe(np.zeros(9 * RATE, np.float32), word_timestamps=True)
    words = [word.word.strip() for segment in segments for word in segment.words]

    assert words == TEXT.split()


def test_a_search_with_several_beams_does_not_run_to_the_length_limit(nano):
    """Its cost would not be that of a real model."""
    steps = nano.model.generate(
        nano.encode(np.zeros((80, 3000), np.float32)),
        [[50258, 50259, 50359]],
        beam_size=5,
        num_hypotheses=5,
    )[0].sequences_ids

    assert max(map(len, steps)) < 50


def test_a_quantized_model_says_the_script(tmp_path):
    scripted_model.build(tmp_path / "nano", "nano", quantization="int8")
    model = load(tmp_path / "nano")

    segments, _ = model.transcribe(np.zeros(30 * RATE, np.float32), beam_size=5)

    assert "".join(segment.text for segment in segments).strip() == TEXT
    file = tmp_path / "nano" / "model.bin"
    assert file.stat().st_size < 10 * 2**20
    before = file.read_bytes()
    scripted_model.build(tmp_path / "nano", "nano", quantization="int8")
    assert file.read_bytes() == before, "not repeatable"


def test_the_tokenizer_of_large_v3_has_cantonese_in_its_place():
    tokenizer = scripted_model.tokenizer_for(SHAPES["large-v3"].n_vocab)
    known = Tokenizer.from_buffer(tokenizer)

    assert len(vocabulary(tokenizer)) == known.get_vocab_size() == 51_866
    # As in openai/whisper-large-v3.
    assert {
        token: known.token_to_id(token)
        for token in ("<|endoftext|>", "<|su|>", "<|yue|>", "<|translate|>")
    } == {
        "<|endoftext|>": 50_257,
        "<|su|>": 50_357,
        "<|yue|>": 50_358,
        "<|translate|>": 50_359,
    }
    assert known.token_to_id("<|30.00|>") == 51_865


def test_the_settings_of_large_v3_follow_its_tokenizer():
    shape = SHAPES["large-v3"]
    tokens = vocabulary(scripted_model.tokenizer_for(shape.n_vocab))
    ids = {token: number for number, token in enumerate(tokens)}

    settings = scripted_model.settings_for(shape, ids)

    assert len(settings["lang_ids"]) == 100
    assert tokens[settings["lang_ids"][-1]] == "<|yue|>"
    suppressed = {tokens[number] for number in settings["suppress_ids"]}
    assert {token for token in suppressed if token.startswith("<|")} == {
        "<|startoftranscript|>",
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
    }
