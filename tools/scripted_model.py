"""Build a Whisper model that always says the same text, at the real cost of its shape.

    python -m tools.scripted_model OUT --shape nano

The folder is one of faster-whisper. Encoder and decoder are random, so that the work is
that of a real model of the same shape, but nothing of it reaches the text: the last
matrix of every decoder part is zero, so each token arrives unchanged at the output,
whose rows map it to its successor in a script. Each window of 30 s says the script
once, whatever is in it. Languages are not told apart: it always hears English.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from ctranslate2.specs import whisper_spec
from numpy.typing import NDArray
from tokenizers import Tokenizer

from transcription.engines.demo_model import packed
from transcription.engines.demo_model.ctranslate2_form import (
    vocabulary,
    write_input_files,
)

Array = NDArray[np.float32]

# One window: start, text, end. No token may come twice, since it has one successor.
SCRIPT: Final = (
    (
        "<|0.00|>",
        " The quick brown fox jumps over a lazy dog near my house",
        "<|9.80|>",
    ),
    ("<|10.00|>", " while seven clever birds watch them from above", "<|19.80|>"),
    ("<|20.00|>", " and nobody knows what will happen next tonight", "<|29.90|>"),
)
TEXT: Final = "".join(text for _, text, _ in SCRIPT).strip()

AUDIO_CONTEXT: Final = 1500
TEXT_CONTEXT: Final = 448
VOCABULARY: Final = 51_865  # of the demo model's tokenizer; large-v3 has one more
QUANTIZATIONS: Final = ("float32", "float16", "int8", "int8_float16", "int8_float32")

# A successor's logit; chance gives the others some 0 ± 0.3 * LOGIT / sqrt(width).
LOGIT: Final = 40.0
BACKGROUND: Final = 0.3
# A beam search ends when as many hypotheses have ended as it has beams. The script's
# first word has synonyms, so that there are as many ways to its end, all of its length;
# else the other beams would wander to the limit, at many times the cost of real ones.
SYNONYMS: Final = 9
FIRST_SYNONYM: Final = 2000
SYNONYM_LOGIT: Final = 0.8 * LOGIT


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model; encoder and decoder have the same.

    Attributes:
        alignment_heads: (layer, head) pairs that word timestamps are taken from; as
            many as in the real model, since their number is part of the cost.
    """

    width: int
    layers: int
    heads: int
    n_mels: int
    n_vocab: int
    alignment_heads: tuple[tuple[int, int], ...]


SHAPES: Final = {
    "nano": Shape(64, 1, 1, 80, VOCABULARY, ((0, 0),)),
    "tiny": Shape(
        384, 4, 6, 80, VOCABULARY, ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5))
    ),
    "base": Shape(
        512,
        6,
        8,
        80,
        VOCABULARY,
        ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)),
    ),
    "large-v3": Shape(
        1280,
        32,
        20,
        128,
        VOCABULARY + 1,
        (
            (7, 0),
            (10, 17),
            (12, 18),
            (13, 12),
            (16, 1),
            (17, 14),
            (19, 11),
            (21, 4),
            (24, 1),
            (25, 6),
        ),
    ),
}


def build(folder: Path, shape_name: str, *, quantization: str = "float32") -> None:
    """Write the model; needs little more memory than its file has bytes.

    Args:
        folder: made if missing; files of the same names are replaced.
        shape_name: one of SHAPES.
        quantization: one of QUANTIZATIONS, how the weights are stored.
    """
    shape = SHAPES[shape_name]
    tokenizer = tokenizer_for(shape.n_vocab)
    ids = {token: number for number, token in enumerate(vocabulary(tokenizer))}
    spec = whisper_spec.WhisperSpec(
        shape.layers, shape.heads, shape.layers, shape.heads
    )
    writer = SpecWriter(shape, quantization)
    writer.fill_encoder(spec.encoder)
    writer.fill_decoder(
        spec.decoder, successors(ids, tokenizer), script_tokens(ids, tokenizer)[1]
    )
    spec.register_vocabulary(vocabulary(tokenizer))
    for key, value in settings_for(shape, ids).items():
        setattr(spec.config, key, value)
    spec.validate()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    write_input_files(folder, tokenizer, n_mels=shape.n_mels)


def tokenizer_for(n_vocab: int) -> bytes:
    """The tokenizer, with Cantonese where large-v3 has it: after the 99 languages."""
    content = json.loads(packed.tokenizer_json())
    if n_vocab == VOCABULARY + 1:
        added = content["added_tokens"]
        place = next(i for i, token in enumerate(added) if token["content"] == "<|su|>")
        added.insert(place + 1, {**added[place], "content": "<|yue|>"})
        for number, token in enumerate(added, start=added[0]["id"]):
            token["id"] = number
    return json.dumps(content, ensure_ascii=False).encode()


def settings_for(shape: Shape, ids: dict[str, int]) -> dict[str, Any]:
    """What goes into config.json: the demo model's, moved to this vocabulary."""
    moved = shape.n_vocab - VOCABULARY
    behind_languages = ids["<|translate|>"]
    known = packed.description()

    def move(number: int) -> int:
        return number + moved if number + moved >= behind_languages else number

    return {
        "suppress_ids": [move(number) for number in known["suppress_ids"]],
        "suppress_ids_begin": known["suppress_ids_begin"],
        "lang_ids": list(range(ids["<|en|>"], behind_languages)),
        "alignment_heads": [list(head) for head in shape.alignment_heads],
    }


def script_tokens(ids: dict[str, int], tokenizer: bytes) -> list[int]:
    """The script as token ids."""
    encoder = Tokenizer.from_buffer(tokenizer)
    tokens: list[int] = []
    for start, text, end in SCRIPT:
        tokens += [ids[start], *encoder.encode(text).ids, ids[end]]
    if len(set(tokens)) < len(tokens):
        raise ValueError("A token comes twice in the script.")
    return tokens


def successors(ids: dict[str, int], tokenizer: bytes) -> dict[int, list[int]]:
    """Each token of the script to those it follows."""
    script = script_tokens(ids, tokenizer)
    follows: dict[int, list[int]] = defaultdict(list)
    follows[ids["<|en|>"]].append(ids["<|startoftranscript|>"])
    for task in ("<|transcribe|>", "<|translate|>"):
        follows[script[0]].append(ids[task])
    follows[script[1]].append(ids["<|notimestamps|>"])
    for before, after in zip(script, [*script[1:], ids["<|endoftext|>"]], strict=True):
        follows[after].append(before)
    return follows


class SpecWriter:
    """Fills a CTranslate2 specification of one shape with repeatable numbers.

    A part is stored in its final precision as soon as it is filled: of the whole model
    in float32 there would be no room for a large one.
    """

    def __init__(self, shape: Shape, quantization: str) -> None:
        """Begin with the first number of the sequence."""
        self._shape = shape
        self._quantization = quantization
        self._random = np.random.default_rng(0)

    def fill_encoder(self, encoder: Any) -> None:
        """Make a random encoder."""
        width, n_mels = self._shape.width, self._shape.n_mels
        for conv, channels in ((encoder.conv1, n_mels), (encoder.conv2, width)):
            conv.weight = self._normal(width, channels, 3, scale=0.05)
            conv.bias = np.zeros(width, np.float32)
        encoder.position_encodings.encodings = sinusoids(AUDIO_CONTEXT, width)
        self._norm(encoder.layer_norm)
        for layer in encoder.layer:
            self._attention(layer.self_attention, outputs=[3, 1])
            self._feed_forward(layer.ffn)
            self._store(layer)
        for part in (encoder.conv1, encoder.conv2, encoder.layer_norm):
            self._store(part)
        self._store(encoder.position_encodings)

    def fill_decoder(
        self, decoder: Any, follows: dict[int, list[int]], first_word: int
    ) -> None:
        """Make a decoder whose layers work for nothing, and whose output is scripted.

        Args:
            decoder: the specification.
            follows: each token to those after which it comes.
            first_word: the token that gets synonyms.
        """
        width, n_vocab = self._shape.width, self._shape.n_vocab
        scripted = {*follows, *chain(*follows.values())}
        tokens = self._token_vectors(sorted(scripted))
        rows = self._normal(n_vocab, width, scale=BACKGROUND / math.sqrt(width))
        for token, before in follows.items():
            rows[token] = tokens[before].sum(axis=0)
        # The first tokens of the vocabulary are single marks, which are suppressed.
        free = (
            token for token in range(FIRST_SYNONYM, n_vocab) if token not in scripted
        )
        for synonym in islice(free, SYNONYMS):
            tokens[synonym] = tokens[first_word]
            rows[synonym] = rows[first_word] * (SYNONYM_LOGIT / LOGIT)
        decoder.projection.weight = rows
        decoder.projection.bias = np.zeros(n_vocab, np.float32)
        self._store(decoder.projection)
        del rows
        tokens *= math.sqrt(width)
        decoder.embeddings.weight = tokens
        self._store(decoder.embeddings)
        del tokens
        # Too small to be heard beside a token.
        decoder.position_encodings.encodings = self._normal(
            TEXT_CONTEXT, width, scale=1e-4
        )
        self._norm(decoder.layer_norm, gamma=LOGIT / math.sqrt(width))
        for layer in decoder.layer:
            self._attention(layer.self_attention, outputs=[3, 1], silent=True)
            self._attention(layer.attention, outputs=[1, 2, 1], silent=True)
            self._feed_forward(layer.ffn, silent=True)
            self._store(layer)
        for part in (decoder.position_encodings, decoder.layer_norm):
            self._store(part)

    def _token_vectors(self, scripted: list[int]) -> Array:
        """A unit vector for each token; those of the script stand apart from all.

        With mean 0, so that the last normalisation leaves them alone. Were they not
        orthogonal to each other, a beam search would find short cuts through the
        script: improbable, but at their end before the script is.
        """
        width = self._shape.width
        tokens = self._normal(self._shape.n_vocab, width)
        tokens -= tokens.mean(axis=1, keepdims=True)
        directions = self._normal(width, 1 + len(scripted))
        directions[:, 0] = 1.0
        basis = np.linalg.qr(directions).Q[:, 1:]
        tokens -= (tokens @ basis) @ basis.T
        tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
        tokens[scripted] = basis.T
        return tokens

    def _normal(self, *dims: int, scale: float = 1.0) -> Array:
        numbers: Array = self._random.standard_normal(dims, dtype=np.float32)
        numbers *= np.float32(scale)
        return numbers

    def _norm(self, part: Any, *, gamma: float = 1.0) -> None:
        part.gamma = np.full(self._shape.width, gamma, np.float32)
        part.beta = np.zeros(self._shape.width, np.float32)

    def _linear(
        self, part: Any, n_outputs: int, n_inputs: int, *, zero: bool = False
    ) -> None:
        part.weight = (
            np.zeros((n_outputs, n_inputs), np.float32)
            if zero
            else self._normal(n_outputs, n_inputs, scale=1 / math.sqrt(n_inputs))
        )
        part.bias = np.zeros(n_outputs, np.float32)

    def _attention(
        self, part: Any, *, outputs: list[int], silent: bool = False
    ) -> None:
        """Fill projections; `outputs`: how many of the model's widths each gives."""
        width = self._shape.width
        self._norm(part.layer_norm)
        for number, widths in enumerate(outputs):
            last = number == len(outputs) - 1
            zero = silent and last
            self._linear(part.linear[number], widths * width, width, zero=zero)

    def _feed_forward(self, part: Any, *, silent: bool = False) -> None:
        width = self._shape.width
        self._norm(part.layer_norm)
        self._linear(part.linear_0, 4 * width, width)
        self._linear(part.linear_1, width, 4 * width, zero=silent)

    def _store(self, part: Any) -> None:
        """Bring a filled part into its final precision."""
        part.validate()
        # Not `optimize`: it also replaces equal arrays by references, whose names hold
        # only in the part, and which would make layers share memory and so be faster.
        part._quantize(self._quantization)


def sinusoids(length: int, width: int) -> Array:
    """Whisper's positions, shape (length, width)."""
    scale = np.exp(-math.log(10_000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(length)[:, None] * scale[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


def file_sizes(folder: Path) -> Iterator[int]:
    """Bytes of each file of a folder."""
    return (path.stat().st_size for path in folder.iterdir())


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument("--shape", choices=SHAPES, default="nano")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="float32")
    given = parser.parse_args()
    build(given.out, given.shape, quantization=given.quantization)
    print(f"{given.out}: {given.shape}, {sum(file_sizes(given.out)) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
