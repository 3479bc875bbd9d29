"""The bundled demo model: a miniature Whisper, so that a first run needs no download.

It knows some ninety words each of English, Spanish and Chinese, as one synthesizer
speaks them; of other speech it makes nonsense. It is stored once, in compact form, and
spread out into what an engine loads when it is first asked for. tools/demo_model holds
the recipe.
"""

from __future__ import annotations

from transcription.engines.demo_model.installation import (
    ctranslate2_folder,
    openai_checkpoint,
)
from transcription.engines.demo_model.packed import (
    Sample,
    alignment_heads,
    dump_alignment_heads,
    revision,
    samples,
)
from whisperhub.sentences import Sentence

NAME = "demo"
NOTICE = Sentence("demo model: knows only the sample vocabulary")

__all__ = [
    "NAME",
    "NOTICE",
    "Sample",
    "alignment_heads",
    "ctranslate2_folder",
    "dump_alignment_heads",
    "openai_checkpoint",
    "revision",
    "samples",
]
