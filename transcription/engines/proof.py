"""A loaded model shows that it hears words before it takes jobs.

A driver or a wheel that does not fit a new card may yield nothing, without an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from transcription.accuracy import word_error_rate
from transcription.engines import demo_model, natural_speech
from transcription.engines.base import Engine, SilentListener
from transcription.engines.options import DecodeOptions
from transcription.engines.plan import DEMO, SlotPlan
from transcription.errors import ModelUnavailableError
from whisperhub.sentences import Sentence

# `tiny` makes a few errors; a broken card gets hardly a word right.
MOST_WORD_ERROR: Final = 0.5
# Whisper's own models, which all know English. What else a folder or a repository holds
# may know other languages only, and is not judged by English words.
OFFICIAL: Final = re.compile(
    r"(tiny|base|small|medium)(\.en)?|large(-v[123])?|(large-v3-)?turbo|"
    r"distil-(small\.en|medium\.en|large-v2|large-v3(\.5)?)"
)


def proof_of(slot: SlotPlan) -> tuple[Path, str] | None:
    """A recording that the model of a slot must know, and its words; None: unknown."""
    if slot.model_size_or_path == DEMO:
        sample = next(s for s in demo_model.samples() if s.language == "en")
        return sample.path, sample.texts["en"]
    if OFFICIAL.fullmatch(slot.model_size_or_path):
        return natural_speech.RECORDING, natural_speech.reference()
    return None


def prove(engine: Engine, slot: SlotPlan) -> None:
    """Have a loaded engine decode a recording, and compare the words.

    Raises:
        ModelUnavailableError: it hears nothing, or other words.
    """
    proof = proof_of(slot)
    if proof is None:
        return
    recording, reference = proof
    options = DecodeOptions(language="en", temperature=(0.0,))
    heard = engine.transcribe(
        natural_speech.read_samples(recording), options, SilentListener()
    ).text
    if word_error_rate(reference, heard, language="en") <= MOST_WORD_ERROR:
        return
    raise ModelUnavailableError(
        Sentence(
            "The model {name!r} was loaded on {device}, but does not understand its "
            "test recording: it heard {heard!r}. Update the driver and the engine's "
            "packages, or choose another compute type or device.",
            name=slot.model,
            device=slot.device,
            heard=heard[:80],
        )
    )
