"""Why a file cannot be read, and whether it ends before its own end.

By the file's own bytes, read sparingly and without FFmpeg. Sizes that a container
states are compared with the bytes that are there; a stated duration is no evidence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from transcription.errors import (
    IncompleteMediaError,
    InvalidMediaError,
    WebPageError,
)
from whisperhub.sentences import Sentence

HEAD_BYTES: Final = 4096
# An Ogg page is at most 65,307 bytes long.
TAIL_BYTES: Final = 65_536
MOST_BOXES: Final = 4096
# Writers disagree about a byte of padding or a header of their own.
TOLERATED_BYTES: Final = 64
# "Not known yet", as streams have it; RIFF of 4 GiB cannot be told from it.
UNKNOWN_RIFF: Final = 0x7FFFFF00

IS_WEB_PAGE: Final = Sentence(
    "The file is a web page, not audio or video. Download the recording itself and "
    "upload that."
)
NO_INDEX: Final = Sentence(
    "The file has no index: its recording or transfer ended too early. Copy it again "
    "from where it was made, or repair it with a recovery program for MP4 files."
)
IS_PLAYLIST: Final = Sentence(
    "The file is a playlist: it names other files and has no sound of its own. Send "
    "the recording itself, or the direct link of it."
)
IS_NOTES: Final = Sentence(
    "The file is MIDI: it holds notes for a synthesizer, not recorded sound. Render it "
    "to WAV first."
)

PAGE: Final = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)"
    rb"[\s>]",
    re.IGNORECASE | re.DOTALL,
)
# M3U and HLS, PLS, DASH, and the scripts of FFmpeg itself.
PLAYLIST: Final = re.compile(
    rb"(\xef\xbb\xbf)?\s*"
    rb"(#EXTM3U|\[playlist\]|ffconcat version|(<\?xml[^>]*>\s*)?<MPD\b)",
    re.IGNORECASE,
)
MIDI: Final = b"MThd"


def is_web_page(head: bytes) -> bool:
    """Whether the first bytes of a file are those of HTML."""
    return PAGE.match(head) is not None


def explain_unreadable(path: Path, error: InvalidMediaError) -> InvalidMediaError:
    """A better reason than that a file cannot be read, if its bytes show one."""
    # To open a pipe would wait for its writer.
    if not path.is_file():
        return error
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if is_web_page(head):
                return WebPageError(IS_WEB_PAGE)
            if PLAYLIST.match(head):
                return InvalidMediaError(IS_PLAYLIST)
            if head.startswith(MIDI):
                return InvalidMediaError(IS_NOTES)
            if head[4:8] == b"ftyp" and b"moov" not in _box_types(file):
                return IncompleteMediaError(NO_INDEX)
    except OSError:
        pass
    return error


def is_cut_short(path: Path, format_name: str) -> bool:
    """Whether bytes are missing at the end, as far as the container tells.

    Args:
        path: a file that was opened.
        format_name: FFmpeg's first name of its format.
    """
    check = CHECKS.get(format_name)
    if check is None:
        return False
    size = path.stat().st_size
    with path.open("rb") as file:
        return check(file, size)


def _box_types(file: BinaryIO) -> set[bytes]:
    return {kind for kind, _ in _boxes(file)}


def _boxes(file: BinaryIO) -> list[tuple[bytes, int]]:
    """The outermost boxes of an MP4 file: their types, and where each says it ends."""
    boxes: list[tuple[bytes, int]] = []
    at = 0
    while len(boxes) < MOST_BOXES:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            break
        size = int.from_bytes(head[:4])
        if size == 1:
            size = int.from_bytes(head[8:16])
        if size == 0:
            # Up to the end, wherever that is.
            boxes.append((head[4:8], at))
            break
        if size < 8:
            break
        at += size
        boxes.append((head[4:8], at))
    return boxes


def _is_mp4_cut(file: BinaryIO, size: int) -> bool:
    boxes = _boxes(file)
    return bool(boxes) and boxes[-1][1] > size


def _is_riff_cut(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    head = file.read(12)
    order: str = "big" if head[:4] in (b"FORM", b"RIFX") else "little"
    if head[:4] not in (b"RIFF", b"RIFX", b"FORM"):
        return False
    stated = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
    return 0 < stated < UNKNOWN_RIFF and stated + 8 > size + TOLERATED_BYTES


def _is_matroska_cut(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    at = head.find(b"\x18\x53\x80\x67")
    if at < 0 or len(head) < at + 12 or not head[at + 4]:
        return False
    # As many bytes as the first set bit says, and that bit is no part of the number.
    length = 9 - head[at + 4].bit_length()
    number = int.from_bytes(head[at + 4 : at + 4 + length])
    stated = number & ((1 << 7 * length) - 1)
    if stated == (1 << 7 * length) - 1:
        # A live recording.
        return False
    return at + 4 + length + stated > size


def _is_ogg_cut(file: BinaryIO, size: int) -> bool:
    """Whether the last page is not all there."""
    start = max(0, size - TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return False
    head = tail[at : at + 27]
    if len(head) < 27:
        return True
    lacing = tail[at + 27 : at + 27 + head[26]]
    return len(lacing) < head[26] or at + 27 + head[26] + sum(lacing) > len(tail)


CHECKS: Final[dict[str, Callable[[BinaryIO, int], bool]]] = {
    "aiff": _is_riff_cut,
    "avi": _is_riff_cut,
    "matroska": _is_matroska_cut,
    "mov": _is_mp4_cut,
    "ogg": _is_ogg_cut,
    "wav": _is_riff_cut,
}
