"""Samples files are mapped, not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transcription.media.decode import load_samples


def test_samples_are_mapped_read_only(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    path.write_bytes(b"\x01\x00\xff\xff\x00\x80")

    samples = load_samples(path)

    assert isinstance(samples, np.memmap)
    assert samples.dtype == np.int16
    assert samples.tolist() == [1, -1, -32768]
    with pytest.raises(ValueError, match="read-only"):
        samples[0] = 0


def test_an_empty_file_has_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    path.touch()

    assert load_samples(path).shape == (0,)
