"""The committed files of the demo model: what is in them and how to read it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
SAMPLES = Path(__file__).parent / "samples"
WEIGHTS_FILE = "weights.npz"
TOKENIZER_FILE = "tokenizer.json.gz"
DESCRIPTION_FILE = "model.json"
# What goes from model.json into the config.json of CTranslate2.
CONFIG_KEYS = ("suppress_ids", "suppress_ids_begin", "lang_ids", "alignment_heads")

EMBEDDING = "decoder.token_embedding.weight"
# The embedding is stored as the rows in use and the token of each; all others are zero.
EMBEDDING_ROWS = "decoder.token_embedding.rows"
EMBEDDING_TOKENS = "decoder.token_embedding.tokens"

Weights = dict[str, NDArray[np.float16]]


@dataclass(frozen=True)
class Sample:
    """A recording the model was not trained on, with what is said in it.

    Texts holds what is said under the recording's own language, and its translations
    under the others.
    """

    language: str
    path: Path
    seconds: float
    texts: dict[str, str]


@cache
def description() -> dict[str, Any]:
    """Everything about the model but its weights, as pack.py wrote it."""
    content: dict[str, Any] = json.loads((DATA / DESCRIPTION_FILE).read_bytes())
    return content


def revision() -> str:
    """Names the weights and all that is installed with them: twelve hex digits."""
    name: str = description()["revision"]
    return name


def revision_of(weights: bytes, tokenizer: bytes, content: dict[str, Any]) -> str:
    """What the revision must be: changes with anything that is installed.

    Args:
        weights: the bytes of the weights' file.
        tokenizer: the bytes of the tokenizer's file.
        content: of model.json.
    """
    installed = {key: content[key] for key in ("dims", *CONFIG_KEYS)}
    digest = hashlib.sha256(weights)
    digest.update(tokenizer)
    digest.update(json.dumps(installed, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def alignment_heads() -> list[tuple[int, int]]:
    """The (layer, head) pairs of the decoder whose attention follows the sound."""
    return [(layer, head) for layer, head in description()["alignment_heads"]]


def dump_alignment_heads() -> bytes:
    """The alignment heads as `set_alignment_heads` of openai-whisper takes them."""
    dims = description()["dims"]
    chosen = np.zeros((dims["n_text_layer"], dims["n_text_head"]), bool)
    for layer, head in alignment_heads():
        chosen[layer, head] = True
    return base64.b85encode(gzip.compress(chosen.tobytes()))


def samples() -> list[Sample]:
    """The sample recordings, one for each language the model knows."""
    rows = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    return [
        Sample(row["language"], SAMPLES / row["file"], row["seconds"], row["texts"])
        for row in rows
    ]


def tokenizer_json() -> bytes:
    """The byte-pair tokenizer of the multilingual Whisper models."""
    return gzip.decompress((DATA / TOKENIZER_FILE).read_bytes())


def read_weights() -> Weights:
    """The weights under openai-whisper's names, the embedding at its full height."""
    with np.load(DATA / WEIGHTS_FILE, allow_pickle=False) as stored:
        return spread(dict(stored), description()["dims"]["n_vocab"])


def spread(stored: dict[str, NDArray[Any]], n_vocab: int) -> Weights:
    """The stored arrays with the full embedding in place of the rows in use."""
    weights = dict(stored)
    rows, tokens = weights.pop(EMBEDDING_ROWS), weights.pop(EMBEDDING_TOKENS)
    full = np.zeros((n_vocab, rows.shape[1]), rows.dtype)
    full[tokens] = rows
    weights[EMBEDDING] = full
    return weights


def compact(weights: Weights) -> dict[str, NDArray[Any]]:
    """The opposite of spread."""
    stored: dict[str, NDArray[Any]] = dict(weights)
    full = stored.pop(EMBEDDING)
    tokens = np.flatnonzero(np.any(full != 0, axis=1)).astype(np.uint16)
    return stored | {EMBEDDING_ROWS: full[tokens], EMBEDDING_TOKENS: tokens}
