"""What a model can be asked for, by the languages that it knows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from transcription.engines.languages import ENGLISH_ONLY
from transcription.errors import UnsupportedLanguageError, UnsupportedTaskError

TRANSCRIBE: Final = "transcribe"


def check_abilities(
    model: str,
    languages: Collection[str],
    *,
    language: str,
    task: str,
    multilingual: bool = False,
) -> None:
    """Refuse what a model cannot do, before it makes rubbish of it.

    Args:
        model: its name, for people.
        languages: what it knows; none: that is not known, and all is let through.
        language: Whisper's code; empty: to be detected.
        task: transcribe, translate or detect_language.
        multilingual: the language is to be detected for each chunk.

    Raises:
        UnsupportedLanguageError: it does not know the language.
        UnsupportedTaskError: it knows English only.
    """
    if not languages:
        return
    if language and language not in languages:
        raise UnsupportedLanguageError(model, language)
    if (task != TRANSCRIBE or multilingual) and set(languages) == set(ENGLISH_ONLY):
        raise UnsupportedTaskError(model)
