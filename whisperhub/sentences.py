"""Sentences for people that are made in one process and read in another language.

A worker does not know who will read why a task failed. It makes the sentence in
English, and keeps how it was made: whoever answers a request says it anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from django.utils.translation import gettext


class Sentence(str):
    """An English sentence, with the pattern and the values that it was made of.

    As a text it is English, for logs and rows. `tools.messages` finds the patterns by
    this class's name.

    Attributes:
        pattern: the English sentence with places such as `{seconds}`.
        values: what stands in the places; JSON values, or sentences.
    """

    __slots__ = ("pattern", "values")

    pattern: str
    values: dict[str, Any]

    def __new__(cls, pattern: str, **values: Any) -> Self:
        """Fill the places of a pattern; without values braces mean nothing."""
        made = super().__new__(cls, pattern.format(**values) if values else pattern)
        made.pattern, made.values = str(pattern), values
        return made

    @classmethod
    def read(cls, text: str, parts: Any) -> Self:
        """A sentence from a row.

        Parts that do not make this text are of an earlier one, or of another release:
        then the text stands for itself.
        """
        try:
            made = cls._put_together(parts)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return cls(text)
        return made if made == text else cls(text)

    @property
    def parts(self) -> dict[str, Any] | None:
        """What a row keeps beside the text; None if the text says it all."""
        return self._taken_apart() if self.values else None

    def translated(self) -> str:
        """The sentence in the language of this moment, or in English."""
        said = gettext(self.pattern)
        return said.format(**_map(self.values, _translated)) if self.values else said

    def _taken_apart(self) -> dict[str, Any]:
        return {
            "pattern": self.pattern,
            "values": _map(self.values, Sentence._taken_apart),
        }

    @classmethod
    def _put_together(cls, parts: Any) -> Self:
        return cls(
            parts["pattern"],
            **{
                name: cls._put_together(value) if isinstance(value, dict) else value
                for name, value in parts["values"].items()
            },
        )


def _map(values: dict[str, Any], change: Callable[[Sentence], Any]) -> dict[str, Any]:
    """The values, with those changed that are sentences themselves."""
    return {
        name: change(value) if isinstance(value, Sentence) else value
        for name, value in values.items()
    }


def _translated(sentence: Sentence) -> str:
    return sentence.translated()


def translated(text: str) -> str:
    """A text in the language of this moment; one that nobody knows as it is."""
    if isinstance(text, Sentence):
        return text.translated()
    return gettext(text) if text else ""


def parts_of(text: str) -> dict[str, Any] | None:
    """What a row keeps beside a text, if that is a sentence with values."""
    return text.parts if isinstance(text, Sentence) else None
