"""Error rates of what a model wrote against what was said."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def units(text: str, language: str) -> list[str]:
    """What is counted: words, or characters for Chinese; no case, no punctuation."""
    kept = "".join(
        " " if unicodedata.category(c)[0] in "PSZ" else c for c in text.casefold()
    )
    if language == "zh":
        return [c for c in kept if not c.isspace()]
    return kept.split()


def edits(wanted: Sequence[str], written: Sequence[str]) -> int:
    """The fewest insertions, deletions and substitutions between two sequences."""
    row = list(range(len(written) + 1))
    for i, expected in enumerate(wanted, 1):
        above_left, row[0] = row[0], i
        for j, found in enumerate(written, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, above_left + (expected != found))
            above_left, row[j] = row[j], cost
    return row[-1]


def error_rate(wanted: str, written: str, language: str) -> float:
    """Word error rate, or character error rate for Chinese."""
    expected = units(wanted, language)
    return edits(expected, units(written, language)) / len(expected)
