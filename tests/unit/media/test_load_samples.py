"""Samples files are mapped, not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from transcription.samples import load_samples, release_pages


def test_samples_are_mapped_read_only(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    path.write_bytes(b"\x01\x00\xff\xff\x00\x80")

    samples = load_samples(path)

    assert isinstance(samples, np.memmap)
    assert samples.dtype == np.int16
    assert samples.tolist() == [1, -1, -32768]
    with pytest.raises(ValueError, match="read-only"):
        samples[0] = 0


def test_pages_that_were_read_can_be_given_back(tmp_path: Path) -> None:
    size = 64 * 2**20
    path = tmp_path / "samples"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(b"\x01\x00" * (2**20 // 2))
    samples = load_samples(path)
    process = psutil.Process()
    assert int(samples.sum(dtype=np.int64)) == size // 2
    mapped = process.memory_full_info().uss

    release_pages(samples[10:20])

    assert mapped - process.memory_full_info().uss > size / 2
    assert int(samples.sum(dtype=np.int64)) == size // 2


def test_samples_in_memory_have_no_pages_to_give_back() -> None:
    samples = np.ones(10, np.int16)

    release_pages(samples)

    assert samples.sum() == 10


def test_an_empty_file_has_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    path.touch()

    assert load_samples(path).shape == (0,)
