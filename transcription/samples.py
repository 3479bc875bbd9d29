"""Samples as arrays: mapped files, and what models take."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

INT16_SCALE: Final = 32_768.0
# As they lie in samples files, without a header.
SAMPLE_DTYPE: Final = np.dtype("<i2")

# Shape (n_samples,).
Samples = NDArray[np.int16]


def load_samples(path: Path) -> Samples:
    """Map a samples file into memory.

    Returns:
        Read-only samples, shape (n_samples,).
    """
    if path.stat().st_size == 0:
        # An empty file cannot be mapped.
        return np.empty(0, SAMPLE_DTYPE)
    return np.memmap(path, SAMPLE_DTYPE, mode="r")


def to_float(samples: Samples) -> NDArray[np.float32]:
    """Samples as models take them: float32 in [-1, 1), same shape."""
    return np.asarray(samples, dtype=np.float32) / np.float32(INT16_SCALE)


def release_pages(samples: Samples) -> None:
    """Give back the memory of the pages read so far, if the samples are a mapped file.

    They count as this process's own for as long as they are mapped in; whoever reads
    them again gets them from the system's cache.
    """
    mapping = getattr(samples, "_mmap", None)
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
