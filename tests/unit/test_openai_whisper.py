"""The engine openai-whisper as far as it goes without PyTorch."""

from __future__ import annotations

import pytest

from transcription.engines.openai_whisper import (
    _arguments,
    _segments,
    explain_load_failure,
    resolve_compute_type,
)
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import parse_slot
from transcription.errors import ModelUnavailableError


def slot(text: str):
    return parse_slot(text, 0, "openai-whisper")


@pytest.mark.parametrize(
    ("text", "device", "compute_type"),
    [
        ("cpu=tiny", "cpu", "float32"),
        ("cpu=tiny/auto", "cpu", "float32"),
        ("cpu=tiny/float32", "cpu", "float32"),
        ("cuda:1=tiny", "cuda:0", "float16"),
        ("cuda=tiny/float32", "cuda:0", "float32"),
    ],
)
def test_compute_type_fits_the_device(text, device, compute_type):
    assert resolve_compute_type(slot(text), device) == compute_type


@pytest.mark.parametrize(
    ("text", "device"), [("cpu=tiny/float16", "cpu"), ("cuda=tiny/int8", "cuda:0")]
)
def test_a_compute_type_that_the_library_lacks_is_refused(text, device):
    with pytest.raises(ModelUnavailableError, match=r"float32.*not in (float16|int8)"):
        resolve_compute_type(slot(text), device)


def test_a_failure_of_cuda_keeps_its_reason():
    error = RuntimeError("CUDA out of memory.\nTried to allocate much")

    message = explain_load_failure(slot("cuda=large-v3"), error)

    assert message == (
        "The model 'large-v3' could not be loaded on cuda: CUDA out of memory."
    )


def test_beam_and_sampling_options_are_given_as_the_library_takes_them():
    arguments = _arguments(DecodeOptions(beam_size=1, patience=2.0), 10.0)

    assert (arguments["beam_size"], arguments["patience"]) == (None, None)
    assert arguments["best_of"] == 5
    assert arguments["length_penalty"] is None
    assert arguments["initial_prompt"] is None


def test_too_little_patience_still_finishes_one_beam():
    arguments = _arguments(DecodeOptions(beam_size=2, patience=0.1), 10.0)

    assert round(arguments["beam_size"] * arguments["patience"]) == 1


def test_clips_end_with_the_recording():
    arguments = _arguments(DecodeOptions(clip_timestamps=(1.0, 2.0, 3.0, 99.0)), 7.256)

    assert arguments["clip_timestamps"] == [1.0, 2.0, 3.0, 7.25]
    assert _arguments(DecodeOptions(), 7.256)["clip_timestamps"] == [0.0]


def test_empty_segments_are_dropped_and_the_rest_counted_anew():
    heard = {
        "seek": 3000,
        "start": 30.0,
        "end": 31.5,
        "text": " Hi.",
        "tokens": [1],
        "temperature": 0,
        "avg_logprob": -0.1,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }

    (segment,) = _segments([{**heard, "text": ""}, heard], with_words=False)

    assert (segment.id, segment.seek, segment.text) == (0, 3000, " Hi.")
    assert segment.words is None
