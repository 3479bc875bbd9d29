"""The demo model as a folder of faster-whisper: CTranslate2 model and tokenizer.

Needs neither torch nor openai-whisper, unlike the converters of CTranslate2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import whisper_spec
from numpy.typing import NDArray

from transcription.engines.demo_model.packed import CONFIG_KEYS, EMBEDDING, Weights


def write_folder(
    folder: Path,
    weights: Weights,
    description: dict[str, Any],
    tokenizer_json: bytes,
    *,
    quantization: str = "int8",
) -> None:
    """Write all files of the model into an existing folder.

    Args:
        folder: where the files go.
        weights: arrays under openai-whisper's names.
        description: the content of model.json; its dims and CONFIG_KEYS are read.
        tokenizer_json: the tokenizer in the form of the tokenizers library.
        quantization: int8, float16 or float32; the smallest also loads the fastest.
    """
    dims = description["dims"]
    spec = whisper_spec.WhisperSpec(
        dims["n_audio_layer"],
        dims["n_audio_head"],
        dims["n_text_layer"],
        dims["n_text_head"],
    )
    _fill(spec, {name: a.astype(np.float32) for name, a in weights.items()})
    spec.register_vocabulary(vocabulary(tokenizer_json))
    for key in CONFIG_KEYS:
        setattr(spec.config, key, description[key])
    spec.validate()
    spec.optimize(quantization=None if quantization == "float32" else quantization)
    spec.save(str(folder))
    write_input_files(folder, tokenizer_json, n_mels=dims["n_mels"])


def write_input_files(folder: Path, tokenizer_json: bytes, *, n_mels: int) -> None:
    """Write what faster-whisper reads beside the model: tokenizer and features."""
    (folder / "tokenizer.json").write_bytes(tokenizer_json)
    features = {
        "feature_size": n_mels,
        "sampling_rate": 16_000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
    }
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(features), encoding="utf-8")


def vocabulary(tokenizer_json: bytes) -> list[str]:
    """The tokens of a tokenizer in the order of their ids."""
    content = json.loads(tokenizer_json)
    ids = dict(content["model"]["vocab"])
    ids |= {added["content"]: added["id"] for added in content["added_tokens"]}
    return sorted(ids, key=ids.__getitem__)


def _fill(
    spec: whisper_spec.WhisperSpec, weights: dict[str, NDArray[np.float32]]
) -> None:
    encoder, decoder = spec.encoder, spec.decoder
    for name in ("conv1", "conv2"):
        part = getattr(encoder, name)
        part.weight = weights[f"encoder.{name}.weight"]
        part.bias = weights[f"encoder.{name}.bias"]
    positions = weights["encoder.positional_embedding"]
    encoder.position_encodings.encodings = positions
    _fill_norm(encoder.layer_norm, weights, "encoder.ln_post")
    for i, layer in enumerate(encoder.layer):
        _fill_block(layer, weights, f"encoder.blocks.{i}", cross=False)
    decoder.embeddings.weight = weights[EMBEDDING]
    decoder.projection.weight = weights[EMBEDDING]
    positions = weights["decoder.positional_embedding"]
    decoder.position_encodings.encodings = positions
    decoder.scale_embeddings = False
    _fill_norm(decoder.layer_norm, weights, "decoder.ln")
    for i, layer in enumerate(decoder.layer):
        _fill_block(layer, weights, f"decoder.blocks.{i}", cross=True)


# The parts of a specification are objects without types of their own in CTranslate2.
def _fill_norm(part: Any, weights: dict[str, NDArray[np.float32]], name: str) -> None:
    part.gamma = weights[f"{name}.weight"]
    part.beta = weights[f"{name}.bias"]


def _fill_linear(
    part: Any, weights: dict[str, NDArray[np.float32]], *names: str
) -> None:
    """Several projections of one input become one."""
    part.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    biases = []
    for name in names:
        # Whisper's keys have no bias.
        none = np.zeros(weights[f"{name}.weight"].shape[0], np.float32)
        biases.append(weights.get(f"{name}.bias", none))
    part.bias = np.concatenate(biases)


def _fill_block(
    layer: Any, weights: dict[str, NDArray[np.float32]], name: str, *, cross: bool
) -> None:
    own = layer.self_attention
    _fill_norm(own.layer_norm, weights, f"{name}.attn_ln")
    parts = [f"{name}.attn.{part}" for part in ("query", "key", "value")]
    _fill_linear(own.linear[0], weights, *parts)
    _fill_linear(own.linear[1], weights, f"{name}.attn.out")
    if cross:
        other, attn = layer.attention, f"{name}.cross_attn"
        _fill_norm(other.layer_norm, weights, f"{attn}_ln")
        _fill_linear(other.linear[0], weights, f"{attn}.query")
        _fill_linear(other.linear[1], weights, f"{attn}.key", f"{attn}.value")
        _fill_linear(other.linear[2], weights, f"{attn}.out")
    _fill_norm(layer.ffn.layer_norm, weights, f"{name}.mlp_ln")
    _fill_linear(layer.ffn.linear_0, weights, f"{name}.mlp.0")
    _fill_linear(layer.ffn.linear_1, weights, f"{name}.mlp.2")
