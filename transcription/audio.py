"""What prepared audio is: 16 kHz, mono, 16-bit samples.

Figures only, for processes that handle no samples and do without NumPy; arrays are in
`transcription.samples`.
"""

from __future__ import annotations

from typing import Final

SAMPLE_RATE: Final = 16_000
WINDOW_SAMPLES: Final = 30 * SAMPLE_RATE  # what Whisper hears at once
SAMPLE_BYTES: Final = 2
