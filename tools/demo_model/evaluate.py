"""Measure a checkpoint in faster-whisper on held-out recordings.

int8, beam of 5, all else as faster-whisper has it. Errors are of words, of characters
for Chinese: the sum of edits over the sum of what was said. Recordings:

single  one sentence
window  as many sentences as fit into 29 s
long    75 s: several windows, each with the one before it as prompt

Each is transcribed, with and without voice activity detection, and translated to
English; single sentences also show whether the language is detected. Then silence and
noise of 10 and 30 s, on which nothing should be written.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel

from tools.demo_model.alignment import DEFAULT_HEADS
from tools.demo_model.grammar import LANGUAGES
from tools.demo_model.pack import describe, read_checkpoint, tokenizer_json
from tools.demo_model.recordings import Recording, record
from tools.demo_model.windows import RATE, ClipSet, Samples
from transcription.accuracy import ErrorCount, count_errors, tokens_of
from transcription.engines.demo_model.ctranslate2_form import write_folder

WINDOW_SECONDS = 29.0
LONG_SECONDS = 75.0


class Evaluation:
    """Runs one model over recordings."""

    def __init__(self, model: WhisperModel, *, beam_size: int, show: bool) -> None:
        self.model = model
        self.beam_size = beam_size
        self.show = show

    def write(self, samples: Samples, **options: Any) -> tuple[str, str]:
        """What the model writes, and the language it took it for."""
        segments, info = self.model.transcribe(
            samples, beam_size=self.beam_size, **options
        )
        return " ".join(s.text for s in segments), info.language

    def rates(
        self, recordings: list[Recording], *, translate: bool = False, **options: Any
    ) -> dict[str, float]:
        """Error rate per spoken language."""
        counts: defaultdict[str, ErrorCount] = defaultdict(ErrorCount)
        for recording in recordings:
            written_in = "en" if translate else recording.language
            text, _ = self.write(
                recording.samples,
                language=recording.language,
                task="translate" if translate else "transcribe",
                **options,
            )
            wanted = recording.text(written_in)
            errors = count_errors(wanted, text, language=written_in)
            counts[recording.language] += errors
            if errors.edits and self.show:
                print(f"  said    {wanted}\n  written {text}")
        return {language: round(count.rate, 4) for language, count in counts.items()}

    def language_share(self, recordings: list[Recording]) -> float:
        """Share of the recordings whose language is detected."""
        right = [self.write(r.samples)[1] == r.language for r in recordings]
        return round(float(np.mean(right)), 4)

    def words_on_nothing(self) -> dict[str, int]:
        """Words written on 10 and 30 s of silence, white noise and brown noise."""
        counts = dict.fromkeys(("silence", "white noise", "brown noise"), 0)
        for name, samples in nothing():
            for vad_filter in (False, True):
                text, _ = self.write(samples, language="en", vad_filter=vad_filter)
                counts[name] += len(tokens_of(text, language="en"))
        return counts


def nothing() -> Iterator[tuple[str, Samples]]:
    """Sound without speech, at several levels."""
    rng = np.random.default_rng(5)
    for seconds in (10, 30):
        n = seconds * RATE
        yield "silence", np.zeros(n, np.float32)
        for level in (0.001, 0.01, 0.1):
            white = rng.standard_normal(n).astype(np.float32)
            brown = np.cumsum(white) - np.linspace(0, white.sum(), n)
            yield "white noise", (white * level).astype(np.float32)
            yield "brown noise", (brown / brown.std() * level).astype(np.float32)


def load(checkpoint: Path, threads: int) -> WhisperModel:
    """The checkpoint in faster-whisper, int8, as the service installs it."""
    weights, dims = read_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        description = describe(dims, list(DEFAULT_HEADS))
        write_folder(Path(folder), weights, description, tokenizer_json())
        return WhisperModel(
            folder, device="cpu", compute_type="int8", cpu_threads=threads
        )


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="held-out NAME of synthesise.py")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--singles", type=int, default=60, help="per language")
    parser.add_argument("--windows", type=int, default=20, help="per language")
    parser.add_argument("--long", type=int, default=4, help="per language")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="print what is wrong")
    options = parser.parse_args()

    clips, rng = ClipSet([options.data]), random.Random(options.seed)

    def recordings(count: int, **size: Any) -> list[Recording]:
        return [
            record(clips, language, rng, **size)
            for language in LANGUAGES
            for _ in range(count)
        ]

    kinds = {
        "single": recordings(options.singles, sentences=1),
        "window": recordings(options.windows, seconds=WINDOW_SECONDS),
        "long": recordings(options.long, seconds=LONG_SECONDS),
    }
    model = load(options.checkpoint, options.threads)
    evaluation = Evaluation(model, beam_size=options.beam, show=options.show)
    figures: dict[str, Any] = {}

    def note(name: str, figure: Any) -> None:
        figures[name] = figure
        print(f"{name}: {figure}", flush=True)

    for kind, group in kinds.items():
        if group:
            foreign = [r for r in group if r.language != "en"]
            note(kind, evaluation.rates(group))
            note(f"{kind}, vad_filter", evaluation.rates(group, vad_filter=True))
            note(f"{kind}, translate", evaluation.rates(foreign, translate=True))
    note("language detected", evaluation.language_share(kinds["single"]))
    note("words on nothing", evaluation.words_on_nothing())
    if options.out:
        text = json.dumps(figures, indent=1)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
