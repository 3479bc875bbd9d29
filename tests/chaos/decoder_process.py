"""The decoder process of a service under test: some files end it."""

from __future__ import annotations

from tests.chaos.deadly import dying_of_deadly_files
from transcription.media import decoder_process

if __name__ == "__main__":
    decoder_process.decode_to_samples = dying_of_deadly_files(
        decoder_process.decode_to_samples
    )
    decoder_process.main()
