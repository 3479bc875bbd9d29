"""Pack a checkpoint of openai-whisper into the files the service carries.

Writes the weights in half precision with only the embedding rows in use, the tokenizer,
and model.json, which holds what else an engine needs and the figures of evaluate.py.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tools.demo_model.alignment import DEFAULT_HEADS
from tools.demo_model.grammar import LANGUAGES
from tools.demo_model.windows import tokens
from transcription.engines.demo_model import NAME, NOTICE, packed

Head = tuple[int, int]


def read_checkpoint(path: Path) -> tuple[packed.Weights, dict[str, int]]:
    """The arrays and the dimensions of an openai-whisper checkpoint."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    state = saved["model_state_dict"]
    return {name: value.half().numpy() for name, value in state.items()}, saved["dims"]


def describe(dims: dict[str, int], heads: list[Head]) -> dict[str, Any]:
    """What an engine needs beside weights and tokenizer: the content of model.json."""
    control = (
        tokens.transcribe,
        tokens.translate,
        tokens.sot,
        tokens.sot_prev,
        tokens.sot_lm,
    )
    return {
        "name": NAME,
        "notice": NOTICE,
        "languages": list(LANGUAGES),
        "dims": dict(dims),
        "alignment_heads": [list(head) for head in heads],
        "suppress_ids": sorted({*tokens.non_speech_tokens, *control}),
        "suppress_ids_begin": [tokens.encode(" ")[0], tokens.eot],
        "lang_ids": sorted(tokens.all_language_tokens),
    }


def tokenizer_json() -> bytes:
    """The tokenizer of openai-whisper in the form of the tokenizers library."""
    encoding = tokens.encoding
    special = {i: name for name, i in encoding._special_tokens.items()}
    ranks = {
        encoding.decode_single_token_bytes(i): i
        for i in range(encoding.n_vocab)
        if i not in special
    }
    alphabet = byte_alphabet()

    def text(token: bytes) -> str:
        return "".join(alphabet[b] for b in token)

    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = merged_from(token, rank, ranks.get)
        if len(parts) == 2:
            merges.append((text(parts[0]), text(parts[1])))
    vocab = {text(token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(special[i], special=True, normalized=False)
            for i in sorted(special)
        ]
    )
    content: str = tokenizer.to_str()
    return content.encode()


def byte_alphabet() -> dict[int, str]:
    """The printable character that stands for each byte in byte-level BPE (GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(extra)}


def merged_from(
    token: bytes, rank: int, rank_of: Callable[[bytes], int | None]
) -> list[bytes]:
    """The two tokens whose merge made this one, found with the merges of lower rank."""
    parts = [bytes([b]) for b in token]
    while True:
        best = None
        for i in range(len(parts) - 1):
            r = rank_of(parts[i] + parts[i + 1])
            if r is not None and r < rank and (best is None or r < best[0]):
                best = (r, i)
        if best is None:
            return parts
        i = best[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def pack(
    checkpoint: Path, folder: Path, heads: list[Head], figures: dict[str, Any]
) -> None:
    """Write the packed files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, dims = read_checkpoint(checkpoint)
    weights_file = folder / packed.WEIGHTS_FILE
    arrays = packed.compact(weights)
    np.savez_compressed(weights_file, allow_pickle=False, **arrays)
    # No name and no time in the header: the same tokenizer gives the same bytes.
    tokenizer = gzip.compress(tokenizer_json(), mtime=0)
    (folder / packed.TOKENIZER_FILE).write_bytes(tokenizer)
    description = describe(dims, heads)
    name = packed.revision_of(weights_file.read_bytes(), tokenizer, description)
    description = {"revision": name, "figures": figures} | description
    text = json.dumps(description, indent=1, ensure_ascii=False)
    # One list of numbers to a line.
    for key in ("suppress_ids", "suppress_ids_begin", "lang_ids", "alignment_heads"):
        spread = json.dumps(description[key], indent=1).replace("\n", "\n ")
        text = text.replace(spread, json.dumps(description[key]))
    file = folder / packed.DESCRIPTION_FILE
    file.write_text(text + "\n", encoding="utf-8")
    total = sum(f.stat().st_size for f in folder.iterdir())
    print(f"revision {name}, {total / 1e6:.1f} MB")


def main() -> None:
    """Pack the checkpoint named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--folder", type=Path, default=packed.DATA)
    parser.add_argument("--heads", type=Path, help="what alignment.py wrote")
    parser.add_argument("--figures", type=Path, help="what evaluate.py wrote")
    options = parser.parse_args()
    heads = [(int(layer), int(head)) for layer, head in _read(options.heads, [])]
    figures = _read(options.figures, {})
    pack(options.checkpoint, options.folder, heads or list(DEFAULT_HEADS), figures)


def _read(path: Path | None, otherwise: Any) -> Any:
    return json.loads(path.read_bytes()) if path else otherwise


if __name__ == "__main__":
    main()
