"""The samples of FFmpeg's frames as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.plane import AudioPlane
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
    if frame.format.is_planar:
        planes = [_plane(frame, number, dtype) for number in range(channels)]
    else:
        planes = list(_plane(frame, 0, dtype, channels).reshape(-1, channels).T)
    floats = np.stack([plane[::every].astype(np.float32) for plane in planes])
    if dtype == np.uint8:
        # Unsigned samples are silent in the middle.
        floats -= scale
    if scale != 1:
        floats /= scale
    return floats


def _plane(
    frame: AudioFrame, number: int, dtype: np.dtype[Any], channels: int = 1
) -> NDArray[Any]:
    """The samples of one plane, in place; `to_ndarray` copies all of them first.

    `frame.planes` must not be used: of eight channels and more it finds the end by
    luck, and gives planes of memory that is not the frame's.
    """
    plane = memoryview(AudioPlane(frame, number))
    return np.frombuffer(plane, dtype, frame.samples * channels)
