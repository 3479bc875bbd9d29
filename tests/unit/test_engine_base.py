"""What engines take and give."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES

from tests.support.factories import segment
from transcription.api.options import DecodeOptionsSerializer
from transcription.engines.base import (
    ModelInfo,
    Segment,
    Word,
    join_text,
)
from transcription.engines.languages import LANGUAGE_CODES
from transcription.engines.options import DecodeOptions
from transcription.engines.spec import ENGINES
from transcription.models import TranscriptionTask, WorkerSlot


def make_segment(**changes: Any) -> Segment:
    return Segment(**{**segment(0, 0.0, 1.0, " Hi."), **changes})


def test_the_defaults_are_repeatable_and_can_be_batched():
    options = DecodeOptions()

    assert options.beam_size == 5
    assert list(options.temperature) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert options.condition_on_previous_text is False
    assert options.vad_filter is True


@pytest.mark.parametrize("beam_size", range(1, 21))
def test_one_hypothesis_may_be_finished_however_little_patience_there_is(beam_size):
    options = DecodeOptions(beam_size=beam_size, patience=0.1)

    # Both libraries refuse less; CTranslate2 reckons with 32 bits.
    assert np.float32(options.beam_patience) * np.float32(beam_size) >= 1
    assert DecodeOptions(patience=2.5).beam_patience == 2.5


def test_options_come_from_a_row():
    options = DecodeOptions.from_dict(
        {"language": "en", "temperature": [0.0, 0.5], "word_timestamps": True}
    )

    assert options == DecodeOptions(
        language="en", temperature=(0.0, 0.5), word_timestamps=True
    )


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="best_off"):
        DecodeOptions.from_dict({"best_off": 3})


def test_a_segment_is_stored_with_all_its_fields():
    words = [Word(" Hi.", 0.0, 1.0, 0.9)]

    stored = make_segment(words=words).as_dict()

    assert stored["words"] == [
        {"word": " Hi.", "start": 0.0, "end": 1.0, "probability": 0.9}
    ]
    assert set(stored) == set(segment(0, 0.0, 1.0, ""))


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        ([" We meet.", " Bye."], "We meet. Bye."),
        (["我们见面。", "再见。"], "我们见面。再见。"),
        ([], ""),
    ],
)
def test_the_text_is_the_segments_as_written(texts, text):
    assert join_text([make_segment(text=part) for part in texts]) == text


def test_a_models_facts_are_stored_without_its_notice():
    info = ModelInfo("demo", "r1", "faster-whisper", "cpu", "int8", notice="small")

    assert info.as_dict() == {
        "name": "demo",
        "revision": "r1",
        "engine": "faster-whisper",
        "device": "cpu",
        "compute_type": "int8",
    }


def test_languages_are_those_of_faster_whisper():
    assert set(LANGUAGE_CODES) == set(_LANGUAGE_CODES)
    assert len(LANGUAGE_CODES) == len(_LANGUAGE_CODES)


def test_languages_are_those_of_openai_whisper():
    package = importlib.util.find_spec("whisper")
    if package is None or package.origin is None:
        pytest.skip("openai-whisper is not installed")
    # The package itself would bring PyTorch; this module of it does not.
    path = Path(package.origin).with_name("tokenizer.py")
    spec = importlib.util.spec_from_file_location("whisper_tokenizer", path)
    assert spec
    assert spec.loader
    tokenizer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tokenizer)

    assert set(LANGUAGE_CODES) == set(tokenizer.LANGUAGES)


def test_the_plan_and_the_rows_know_the_same_engines():
    for row in (TranscriptionTask, WorkerSlot):
        choices: Any = row._meta.get_field("engine").choices
        assert set(ENGINES) == {value for value, _ in choices}


def test_the_api_tells_which_engine_has_no_such_option():
    fields = DecodeOptionsSerializer().fields
    for spec in ENGINES.values():
        for name in spec.unsupported_options:
            assert spec.name in str(fields[name].help_text), name


def test_each_engine_is_made_by_a_function_that_is_there():
    for spec in ENGINES.values():
        module_name, _, function = spec.factory.rpartition(".")
        assert callable(getattr(importlib.import_module(module_name), function))
