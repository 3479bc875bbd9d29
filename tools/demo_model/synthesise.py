"""Speak random sentences of the grammar with espeak-ng.

Writes NAME.npy (int16, 16 kHz, all clips end to end) and NAME.json: per clip its first
sample, number of samples, language, and the sentence in every language. Needs espeak-ng
on the PATH (Debian: apt-get install espeak-ng).
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from tools.demo_model.grammar import LANGUAGES, sentence

RATE = 16_000
SPOKEN_RATE = 22_050  # what espeak-ng writes
VOICES = {"en": ["en-us", "en-gb"], "es": ["es", "es-419"], "zh": ["cmn"]}
VARIANTS = ["", "+m1", "+m3", "+f1", "+f2", "+f4"]
WORDS_PER_MINUTE = (140, 180)
PITCHES = (40, 60)
# Samples at both ends that stay below this level are cut, but for 10 ms.
SILENCE = 80
MARGIN_SAMPLES = RATE // 100

Sound = NDArray[np.int16]


def speak(text: str, language: str, rng: random.Random) -> Sound:
    """One sentence in a voice drawn at random, 16 kHz, cut to the speech."""
    voice = rng.choice(VOICES[language]) + rng.choice(VARIANTS)
    speed, pitch = rng.randint(*WORDS_PER_MINUTE), rng.randint(*PITCHES)
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch)]
    command += ["-z", "--stdout", text]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        if file.getframerate() != SPOKEN_RATE:
            raise ValueError(f"espeak-ng spoke at {file.getframerate()} Hz")
    # The header of a stream gives no true length: the samples follow its 44 bytes.
    samples = np.frombuffer(spoken[44:], np.int16).astype(np.float32)
    samples = resample_poly(samples, 320, 441)
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    if loud.size:
        first = max(0, loud[0] - MARGIN_SAMPLES)
        samples = samples[first : loud[-1] + MARGIN_SAMPLES]
    sound: Sound = np.clip(samples, -32768, 32767).astype(np.int16)
    return sound


def main() -> None:
    """Speak as many sentences as the command line asks for, each language in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", type=Path, help="files to write, without their endings")
    parser.add_argument("--count", type=int, default=15_000, help="sentences to speak")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--processes", type=int, default=3)
    options = parser.parse_args()

    rng = random.Random(options.seed)
    jobs = []
    for i in range(options.count):
        language = LANGUAGES[i % len(LANGUAGES)]
        jobs.append((sentence(rng), language, random.Random(rng.random())))
    with ThreadPoolExecutor(options.processes) as pool:
        clips = list(pool.map(lambda job: speak(job[0][job[1]], job[1], job[2]), jobs))
    index, position = [], 0
    for (texts, language, _), clip in zip(jobs, clips, strict=True):
        index.append((position, len(clip), language, texts))
        position += len(clip)
    options.name.parent.mkdir(parents=True, exist_ok=True)
    np.save(f"{options.name}.npy", np.concatenate(clips))
    text = json.dumps(index, ensure_ascii=False)
    Path(f"{options.name}.json").write_text(text, encoding="utf-8")
    print(f"{options.count} clips, {position / RATE / 3600:.2f} h")


if __name__ == "__main__":
    main()
