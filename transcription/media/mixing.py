"""Channels that cancel each other out in a mono mix, and the one taken instead."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from transcription.media.samples import as_floats

# -50 dB of full scale; below, what cancels is noise.
LOUD_POWER = 1e-5
# A mix 20 dB below its loudest channel has lost that channel. One channel alone among
# eight is 18 dB below.
CANCELLED_SHARE = 0.01
# How much of what is loud in a block must be lost.
LOST_SHARE = 0.25
# So many moments of a block are looked at, in so many pieces.
MOMENTS = 8192
PIECES = 16
# A channel is kept while another one has no more than this times its power.
BETTER = 2.0


class ChannelWatch:
    """Looks at blocks of one recording before they are mixed.

    Attributes:
        seconds: how much of the recording is one channel in place of the mix.
        channel: the one that was taken last, from 0.
    """

    def __init__(self) -> None:
        """Begin with nothing lost."""
        self.seconds = 0.0
        self.channel = 0

    def rescue(self, block: AudioFrame) -> AudioFrame | None:
        """One channel of a block that a mix would cancel; None: it can be mixed."""
        if block.layout.nb_channels < 2:
            return None
        looked_at = as_floats(block, every=max(1, block.samples // MOMENTS))
        powers = None if looked_at is None else _lost_powers(looked_at)
        samples = None if powers is None else as_floats(block)
        if powers is None or samples is None:
            return None
        best = int(powers.argmax())
        if self.channel >= len(powers) or powers[best] > BETTER * powers[self.channel]:
            self.channel = best
        self.seconds += block.samples / block.sample_rate
        return _mono(samples[self.channel], like=block)


def _lost_powers(samples: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The power of each channel where a mix loses it; None: it loses little."""
    size = max(1, samples.shape[1] // PIECES)
    count = samples.shape[1] // size
    pieces = samples[:, : count * size].reshape(len(samples), count, size)
    channels = np.square(pieces).mean(axis=2)
    mix = np.square(pieces.mean(axis=0)).mean(axis=1)
    best = channels.max(axis=0)
    is_loud = best >= LOUD_POWER
    is_lost = is_loud & (mix < CANCELLED_SHARE * best)
    if not is_lost.any() or best[is_lost].sum() < LOST_SHARE * best[is_loud].sum():
        return None
    lost: NDArray[np.float32] = channels[:, is_lost].sum(axis=1)
    return lost


def _mono(samples: NDArray[np.float32], *, like: AudioFrame) -> AudioFrame:
    frame = AudioFrame.from_ndarray(
        np.ascontiguousarray(samples).reshape(1, -1), format="fltp", layout="mono"
    )
    frame.sample_rate = like.sample_rate
    frame.time_base = Fraction(1, like.sample_rate)
    return frame
