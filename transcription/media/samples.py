"""The samples of FFmpeg's frames as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

# By FFmpeg's name, without the p of planar formats: type and full scale.
FORMATS: dict[str, tuple[np.dtype[Any], float]] = {
    "u8": (np.dtype(np.uint8), 2.0**7),
    "s16": (np.dtype(np.int16), 2.0**15),
    "s32": (np.dtype(np.int32), 2.0**31),
    "flt": (np.dtype(np.float32), 1.0),
    "dbl": (np.dtype(np.float64), 1.0),
}


def as_floats(frame: AudioFrame, *, every: int = 1) -> NDArray[np.float32] | None:
    """The samples of a frame in [-1, 1], shape (n_channels, n_samples / every).

    Args:
        frame: as decoded.
        every: how many samples of a channel to take one of.

    Returns:
        None for a kind of samples that is not known here.
    """
    kind = FORMATS.get(frame.format.name.removesuffix("p"))
    if kind is None:
        return None
    dtype, scale = kind
    channels = frame.layout.nb_channels
    count = frame.samples if frame.format.is_planar else frame.samples * channels
    # PyAV's `to_ndarray` copies all of it first.
    planes = [np.frombuffer(memoryview(plane), dtype, count) for plane in frame.planes]
    if not frame.format.is_planar:
        planes = list(planes[0].reshape(-1, channels).T)
    floats = np.stack([plane[::every].astype(np.float32) for plane in planes])
    if dtype == np.uint8:
        # Unsigned samples are silent in the middle.
        floats -= scale
    if scale != 1:
        floats /= scale
    return floats
