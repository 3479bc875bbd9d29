"""The demo model as a checkpoint of openai-whisper."""

from __future__ import annotations

from pathlib import Path

import torch

from transcription.engines.demo_model.packed import Weights


def write_checkpoint(file: Path, weights: Weights, dims: dict[str, int]) -> None:
    """Write what `whisper.load_model` reads, in half precision as OpenAI's own."""
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    torch.save({"dims": dims, "model_state_dict": state}, file)
