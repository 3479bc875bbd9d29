"""How far a transcript is from the truth."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Languages written without spaces are compared by character.
UNSPACED: Final = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km"})


@dataclass(frozen=True)
class ErrorCount:
    """What was heard against the reference, of one recording or of several together.

    Attributes:
        edits: insertions, deletions and substitutions that lead from one to the other.
        tokens: in the reference.
    """

    edits: int = 0
    tokens: int = 0

    def __add__(self, other: ErrorCount) -> ErrorCount:
        return ErrorCount(self.edits + other.edits, self.tokens + other.tokens)

    @property
    def rate(self) -> float:
        """Edits per token; of an empty reference 0.0 or 1.0."""
        return self.edits / self.tokens if self.tokens else float(bool(self.edits))


def tokens_of(text: str, *, language: str) -> list[str]:
    """Words, or characters where a language writes no spaces; no case, no marks."""
    plain = unicodedata.normalize("NFKC", text).lower()
    plain = re.sub(r"[^\w\s']", " ", plain)
    if language in UNSPACED:
        return [character for character in plain if not character.isspace()]
    return plain.split()


def word_error_rate(reference: str, heard: str, *, language: str = "en") -> float:
    """Edits that turn what was heard into the reference, per word of the reference.

    Returns:
        0.0 for equal texts; may exceed 1.0. An empty reference gives 0.0 or 1.0.
    """
    return count_errors(reference, heard, language=language).rate


def count_errors(reference: str, heard: str, *, language: str) -> ErrorCount:
    """The errors in what was heard, by word; by character without spaces."""
    wanted = tokens_of(reference, language=language)
    got = tokens_of(heard, language=language)
    return ErrorCount(edit_distance(wanted, got), len(wanted))


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Insertions, deletions and substitutions between two sequences (Levenshtein)."""
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(second, start=1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right)),
            )
    return row[-1]
