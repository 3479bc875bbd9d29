"""The demo model's sample recordings as samples and as files."""

from __future__ import annotations

import io
import wave

import numpy as np

from transcription.audio import SAMPLE_RATE
from transcription.engines import demo_model
from transcription.samples import Samples

RECORDINGS = {sample.language: sample for sample in demo_model.samples()}


def read_recording(language: str) -> Samples:
    """What is said in a sample recording, 16 kHz."""
    with wave.open(str(RECORDINGS[language].path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def silence(seconds: float) -> Samples:
    """Nothing, for so long."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def to_wav(samples: Samples) -> bytes:
    """Samples as a file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
