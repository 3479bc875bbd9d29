"""A plan's device as libraries take it: a kind and a number."""

from __future__ import annotations

import os
from collections.abc import Callable


def resolve_device(device: str, count_cuda: Callable[[], int]) -> tuple[str, int]:
    """The kind and number of a plan's device.

    Args:
        device: cpu, cuda, cuda:N or auto.
        count_cuda: how many CUDA devices the library sees; asked for auto only.
    """
    if device == "auto":
        device = "cuda" if count_cuda() else "cpu"
    kind, _, index = device.partition(":")
    # The launcher leaves a process its own device and no other: number 0.
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        return kind, 0
    return kind, int(index or 0)
