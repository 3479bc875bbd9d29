"""What readers of a result must know: made by media and engines, kept on the task.

A notice is no error: the task goes on. Its code is stable, for programs; its sentence
is kept in parts, as those of errors are, and translated for whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from whisperhub.sentences import Sentence, parts_of


class NoticeCode(StrEnum):
    """Every code that a notice may have; docs/architecture.md explains each."""

    # About the model: the same for every result that it makes.
    MODEL = "model"

    # About the media.
    AUDIO_MISSING = "audio_missing"
    AUDIO_DAMAGED = "audio_damaged"
    CLOCK_JUMPS = "clock_jumps"
    MEDIA_TRUNCATED = "media_truncated"
    AUDIO_TOO_SHORT = "audio_too_short"
    CHANNELS_CANCEL = "channels_cancel"
    AUDIO_TRACK_CHOSEN = "audio_track_chosen"

    # About what was heard.
    NO_SPEECH = "no_speech"
    OTHER_LANGUAGES = "other_languages"


@dataclass(frozen=True)
class Notice:
    """One thing that a reader of the result must know.

    Attributes:
        code: stable, for programs.
        message: a sentence for people in English.
        details: JSON values by name, such as `start`, `end` and `seconds`: times in
            seconds of the media.
    """

    code: NoticeCode
    message: Sentence
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As a row keeps it."""
        return {
            "code": str(self.code),
            "message": str(self.message),
            "parts": parts_of(self.message),
            "details": dict(self.details),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """From what a row keeps.

        Raises:
            ValueError: another release wrote it, and this one has no such code.
        """
        return cls(
            code=NoticeCode(kept["code"]),
            message=Sentence.read(kept["message"], kept["parts"]),
            details=kept["details"],
        )


def shown(kept: Mapping[str, Any]) -> dict[str, Any]:
    """A kept notice as clients see it, in the language of this moment.

    Codes of other releases are shown as they are.
    """
    message = Sentence.read(kept["message"], kept["parts"])
    return {
        "code": kept["code"],
        "message": message.translated(),
        "details": kept["details"],
    }


def appended(
    kept: Iterable[dict[str, Any]], new: Iterable[Notice]
) -> list[dict[str, Any]]:
    """What a row keeps after more notices have come; each is kept once."""
    notices = list(kept)
    for notice in new:
        made = notice.as_dict()
        if made not in notices:
            notices.append(made)
    return notices
