"""The bundled recording of natural speech: what a real model must understand.

A Piper voice reads en.txt; tools/natural_speech.py holds the recipe. 16 kHz mono WAV.
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Final

import numpy as np

from transcription.samples import Samples

RECORDING: Final = Path(__file__).parent / "en.wav"
TEXT: Final = Path(__file__).parent / "en.txt"


def reference() -> str:
    """What is said in it."""
    return TEXT.read_text(encoding="utf-8").strip()


def read_samples(path: Path = RECORDING) -> Samples:
    """Samples of a 16 kHz mono WAV file of ours, shape (n_samples,)."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
