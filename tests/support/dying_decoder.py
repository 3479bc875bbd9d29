"""A decoder process that ends at certain files in the way that they name."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from transcription.media import decoder_process
from transcription.media.decode import decode_to_samples

WAYS = {number.name: number for number in signal.Signals}


def decode_or_die(path: Path, destination: Path, **options: Any) -> Any:
    way = path.read_bytes()[:10].decode("latin-1").strip()
    if way == "exit":
        sys.exit(1)
    if way == "memory":
        bytearray(2**60)
    if way in WAYS:
        destination.touch()
        os.kill(os.getpid(), WAYS[way])
    return decode_to_samples(path, destination, **options)


if __name__ == "__main__":
    vars(decoder_process)["decode_to_samples"] = decode_or_die
    decoder_process.main()
