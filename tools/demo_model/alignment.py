"""Choose the alignment heads: those whose cross-attention moves on with the sound.

For held-out recordings with known text, each head of the decoder is scored by the share
of tokens whose attention peaks where it peaked for the token before, or up to a second
later. The best are written as a list of (layer, head). How well they work together is
measured where the truth is known: at the first and the last word of each sentence.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from numpy.typing import NDArray
from whisper.timing import find_alignment
from whisper.tokenizer import get_tokenizer

from tools.demo_model.grammar import LANGUAGES
from tools.demo_model.recordings import Recording, record
from tools.demo_model.windows import ClipSet, encode_text

Head = tuple[int, int]

# Whisper's own choice where nothing is known: the last half of the layers.
DEFAULT_HEADS: tuple[Head, ...] = tuple((y, x) for y in (1, 2) for x in range(3))
FRAME_SECONDS = 0.02
MOST_STEP_FRAMES = 50  # 1 s
# Heads that come this near to the best one are chosen with it.
SHARE_OF_BEST = 0.9


def text_tokens(recording: Recording) -> list[int]:
    """The tokens of a recording as the engines align them: without timestamps."""
    texts = [s.texts[recording.language] for s in recording.sentences]
    return [token for text in texts for token in encode_text(text)]


def features(model: Any, recording: Recording) -> torch.Tensor:
    """One window of log-mel features on the device of the model."""
    samples = whisper.pad_or_trim(recording.samples)
    mel: torch.Tensor = whisper.log_mel_spectrogram(samples, model.dims.n_mels)
    return mel.to(model.device)


def cross_attention(model: Any, recording: Recording) -> NDArray[np.float32]:
    """Where each head looks for each text token: (layers, heads, tokens, frames)."""
    tokenizer = get_tokenizer(True, language=recording.language, task="transcribe")
    given = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
    ids = [*given, *text_tokens(recording), tokenizer.eot]
    looks: list[torch.Tensor] = []
    hooks = [
        block.cross_attn.register_forward_hook(
            lambda _m, _i, out: looks.append(out[-1][0])
        )
        for block in model.decoder.blocks
    ]
    sequence = torch.tensor([ids], device=model.device)
    try:
        with torch.no_grad(), whisper.model.disable_sdpa():
            model(features(model, recording)[None], sequence)
    finally:
        for hook in hooks:
            hook.remove()
    frames = int(recording.seconds / FRAME_SECONDS)
    # The attention at a position is that of the token written next.
    of_text = torch.stack(looks)[..., len(given) - 1 : -2, :frames]
    attention: NDArray[np.float32] = of_text.float().softmax(-1).cpu().numpy()
    return attention


def monotonicity(attention: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of tokens, per layer and head, whose peak stays or moves on a little."""
    steps = np.diff(attention.argmax(-1), axis=-1)
    steady = (steps >= 0) & (steps <= MOST_STEP_FRAMES)
    return np.asarray(steady.mean(-1), np.float64)


def boundary_errors(
    model: Any, recording: Recording, heads: list[Head]
) -> list[tuple[float, float]]:
    """Errors in seconds at the start of the first word and the end of the last."""
    mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head)
    for layer, head in heads:
        mask[layer, head] = 1
    model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
    tokenizer = get_tokenizer(True, language=recording.language, task="transcribe")
    words = find_alignment(
        model,
        tokenizer,
        text_tokens(recording),
        features(model, recording),
        int(recording.seconds / FRAME_SECONDS) * 2,
    )
    errors, words_left = [], iter(words)
    for sentence in recording.sentences:
        count = len(encode_text(sentence.texts[recording.language]))
        found = []
        while count > 0:
            word = next(words_left)
            count -= len(word.tokens)
            found.append(word)
        # Closing punctuation is a word of its own here, and has no sound.
        spoken = [word for word in found if word.word.strip(" .,?¿。，？")]
        start, end = spoken[0].start - sentence.start, spoken[-1].end - sentence.end
        errors.append((abs(float(start)), abs(float(end))))
    return errors


def main() -> None:
    """Score all heads, write the chosen ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="held-out NAME of synthesise.py")
    parser.add_argument("--out", type=Path, help="JSON file for the list of heads")
    parser.add_argument("--count", type=int, default=12, help="recordings per language")
    parser.add_argument("--seconds", type=float, default=28, help="length of each")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    rng = random.Random(options.seed)
    clips = ClipSet([options.data])
    recordings = [
        record(clips, language, rng, seconds=options.seconds)
        for language in LANGUAGES
        for _ in range(options.count)
    ]
    model = whisper.load_model(str(options.checkpoint), device="cpu")
    scores = np.mean([monotonicity(cross_attention(model, r)) for r in recordings], 0)
    for (layer, head), score in np.ndenumerate(scores):
        print(f"layer {layer} head {head}: monotonic {score:.3f}")
    near = np.argwhere(scores >= SHARE_OF_BEST * scores.max()).tolist()
    chosen = [(layer, head) for layer, head in near]
    for name, heads in (("chosen", chosen), ("default", list(DEFAULT_HEADS))):
        rows = [e for r in recordings for e in boundary_errors(model, r, heads)]
        start, end = np.median(rows, 0)
        late = np.mean(np.array(rows) > 0.5)
        print(
            f"{name} {heads}: median error {start:.2f} s at starts,"
            f" {end:.2f} s at ends, {late:.1%} beyond 0.5 s"
        )
    if options.out:
        options.out.write_text(json.dumps(chosen) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
