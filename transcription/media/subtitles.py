"""Segments as subtitles: SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

SRT: Final = "srt"
VTT: Final = "vtt"


@dataclass(frozen=True)
class Cue:
    """One subtitle; times in seconds of the media."""

    start: float
    end: float
    text: str


def timestamp(seconds: float, *, mark: str) -> str:
    """Hours, minutes, seconds and milliseconds, rounded to the nearest."""
    milliseconds = max(0, round(seconds * 1000))
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, fraction = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{mark}{fraction:03}"


def readable(cues: Iterable[Cue]) -> list[Cue]:
    """Cues that a player can show one after the other, for at least a millisecond each.

    A cue begins when the one before it has ended; one that has no time left joins its
    neighbour. Results of earlier releases may need it.
    """
    shown: list[Cue] = []
    for cue in cues:
        start = max(cue.start, shown[-1].end) if shown else max(cue.start, 0.0)
        cue = replace(cue, start=start, end=max(cue.end, start))
        if shown and (_is_moment(cue) or _is_moment(shown[-1])):
            before = shown.pop()
            text = f"{before.text.rstrip()}\n{cue.text.lstrip()}"
            cue = Cue(before.start, max(before.end, cue.end), text)
        shown.append(cue)
    return shown


def _is_moment(cue: Cue) -> bool:
    """Whether a cue has no length in the milliseconds that subtitles have."""
    return round(cue.start * 1000) >= round(cue.end * 1000)


def render_srt(cues: Iterable[Cue]) -> str:
    """SubRip: numbered from 1, comma before the milliseconds."""
    return "".join(
        f"{number}\n{timestamp(cue.start, mark=',')} --> "
        f"{timestamp(cue.end, mark=',')}\n{_one_block(cue.text)}\n\n"
        for number, cue in enumerate(cues, start=1)
    )


def render_vtt(cues: Iterable[Cue]) -> str:
    """WebVTT: header, full stop before the milliseconds, markup escaped."""
    return "WEBVTT\n\n" + "".join(
        f"{timestamp(cue.start, mark='.')} --> {timestamp(cue.end, mark='.')}\n"
        f"{_escape(_one_block(cue.text))}\n\n"
        for cue in cues
    )


def _one_block(text: str) -> str:
    """The text without empty lines: an empty line ends a cue."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _escape(text: str) -> str:
    """Text that WebVTT would read as markup or as a timing line."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
