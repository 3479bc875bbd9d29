"""The decoder process of a service under test: some files end it."""

from __future__ import annotations

from tests.chaos.deadly import dying_of_deadly_files
from transcription.media import decoder_process
from transcription.media.decode import decode_to_samples

if __name__ == "__main__":
    deadly = dying_of_deadly_files(decode_to_samples)
    vars(decoder_process)["decode_to_samples"] = deadly
    decoder_process.main()
