"""Choose the sample recordings out of held-out clips: some that the model gets right.

For each language recordings are drawn until the packed model transcribes one without
error, with and without voice activity detection, and translates it without error.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import wave
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel

from tools.demo_model.evaluate import Evaluation
from tools.demo_model.grammar import LANGUAGES
from tools.demo_model.recordings import Recording, record
from tools.demo_model.windows import RATE, ClipSet
from transcription.engines.demo_model import ctranslate2_folder, packed


def is_right(evaluation: Evaluation, recording: Recording) -> bool:
    """Whether everything a user might do first with the recording comes out right."""
    group = [recording]
    rates = [
        evaluation.rates(group),
        evaluation.rates(group, vad_filter=True),
        evaluation.rates(group, without_timestamps=True),
    ]
    if recording.language != "en":
        rates.append(evaluation.rates(group, translate=True))
    return all(rate == 0 for by_language in rates for rate in by_language.values())


def write(recording: Recording, folder: Path) -> dict[str, object]:
    """Write the sound; returns its row of samples.json."""
    file = f"{recording.language}.wav"
    samples = np.round(recording.samples * 32767).astype("<i2")
    with wave.open(str(folder / file), "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(RATE)
        opened.writeframes(samples.tobytes())
    return {
        "language": recording.language,
        "file": file,
        "seconds": round(recording.seconds, 2),
        "texts": {language: recording.text(language) for language in LANGUAGES},
    }


def main() -> None:
    """Choose and write one recording for each language."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="held-out NAME of synthesise.py")
    parser.add_argument("--folder", type=Path, default=packed.SAMPLES)
    parser.add_argument("--sentences", type=int, default=4)
    parser.add_argument("--tries", type=int, default=50, help="for each language")
    parser.add_argument("--seed", type=int, default=23)
    options = parser.parse_args()

    clips, rng = ClipSet([options.data]), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as parent:
        folder = ctranslate2_folder(Path(parent))
        model = WhisperModel(str(folder), device="cpu", compute_type="int8")
    evaluation = Evaluation(model, beam_size=5, show=False)
    rows = []
    for language in LANGUAGES:
        drawn = (
            record(clips, language, rng, sentences=options.sentences)
            for _ in range(options.tries)
        )
        right = next((r for r in drawn if is_right(evaluation, r)), None)
        if right is None:
            parser.exit(1, f"no recording of {language} is transcribed right\n")
        print(f"{language}: {right.seconds:.1f} s")
        rows.append(write(right, options.folder))
    text = json.dumps(rows, ensure_ascii=False, indent=1)
    (options.folder / "samples.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
