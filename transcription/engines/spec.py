"""The engines: one row for each, with all that is known before one is imported.

Settings read this table too, so it imports no library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from transcription.engines.languages import LANGUAGE_CODES


@dataclass(frozen=True)
class EngineSpec:
    """One implementation of Whisper.

    Attributes:
        name: as operators, clients and rows have it.
        factory: the function that makes it, by its full name; see
            `registry.create_engine`. Imported only where the engine runs: each brings
            libraries of hundreds of megabytes.
        languages: Whisper's codes of those it can be asked for; a model may know fewer.
        unsupported_options: decode options that it cannot honour.
    """

    name: str
    factory: str
    languages: tuple[str, ...] = LANGUAGE_CODES
    unsupported_options: frozenset[str] = frozenset()


# By name; the first is the one that runs unless another is chosen.
ENGINES: Final = {
    spec.name: spec
    for spec in (
        EngineSpec(
            name="faster-whisper",
            factory="transcription.engines.faster_whisper.create",
        ),
        EngineSpec(
            name="openai-whisper",
            factory="transcription.engines.openai_whisper.create",
            unsupported_options=frozenset(
                {"hotwords", "multilingual", "vad_filter", "vad_parameters"}
            ),
        ),
    )
}
DEFAULT_ENGINE: Final = next(iter(ENGINES))
# As fields take them: value and label.
ENGINE_CHOICES: Final = [(name, name) for name in ENGINES]
