"""Open media: the one place in the product that does.

Media come from strangers, and FFmpeg reads some of them as instructions: playlists that
name other files or addresses. So every open goes through `open_media`, with a list of
demuxers that read one file only, the file protocol only, and limits on what merely
opening may cost. A path is always the server's own; a file object or text of a client
never reaches FFmpeg. To write a file of our own with `av.open(..., "w")` is no such
open.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
from av.container import InputContainer

from transcription.errors import InvalidMediaError
from transcription.media.recognition import explain_unreadable
from transcription.media.types import DEMUXERS
from whisperhub.sentences import Sentence

# FFmpeg accepts a demuxer when any of its names is in the list, so "mov" covers mp4,
# m4a and 3gp, and "matroska" covers WebM.
FORMAT_WHITELIST = ",".join(DEMUXERS)

# What FFmpeg and PyAV were seen to raise on broken files. av.error.EOFError and its
# siblings are FFmpegErrors; the built-in ones come from PyAV's own code.
MEDIA_ERRORS = (
    av.error.FFmpegError,
    EOFError,
    ValueError,
    IndexError,
    OSError,
)

NOT_MEDIA = Sentence("The file is not audio or video that can be read.")
TOO_MUCH_MEMORY = Sentence(
    "Reading the file takes more memory than this server allows. Convert it to another "
    "format, with sound alone, and send it again."
)


@dataclass(frozen=True)
class OpeningLimits:
    """What opening one file may cost."""

    # Of sound and picture: 900 of them in 2 MB took 651 MB to open.
    max_tracks: int = 64
    # Subtitles, fonts and data beside them. Films have dozens of subtitles; all of them
    # could still be tracks of sound, so this is no more generous than it has to be.
    max_other_streams: int = 128
    # One 8K picture. A 16000×16000 one in 768 kB took 769 MB to open.
    max_pixels: int = 7680 * 4352
    # FFmpeg asks between reads, so this bounds a slow disk or a search for the next
    # packet, not the work on one packet.
    open_timeout_seconds: float = 30.0
    read_timeout_seconds: float = 30.0


DEFAULT_LIMITS = OpeningLimits()


@contextlib.contextmanager
def open_media(
    path: Path, *, limits: OpeningLimits = DEFAULT_LIMITS
) -> Iterator[InputContainer]:
    """Open a media file of a stranger for reading.

    Only errors of opening become ours: the body may raise OSError for a full disk, say.
    It wraps what it reads from the container in `media_errors`.

    Args:
        path: chosen by the server; never text of a client.
        limits: what opening may cost.

    Raises:
        InvalidMediaError: not media, broken, or beyond the limits.
    """
    try:
        with media_errors(NOT_MEDIA):
            _check_file(path)
            container = _open_any(path, limits)
    except InvalidMediaError as error:
        if error.message != NOT_MEDIA:
            raise
        raise explain_unreadable(path, error) from error.__cause__
    try:
        yield container
    finally:
        container.close()


def _open_any(path: Path, limits: OpeningLimits) -> InputContainer:
    """Open a file however many streams it has, or refuse it for that.

    A stream costs memory whatever it holds. So most files are opened with room for
    their tracks only, and a second time where other streams took that room.
    """
    most = limits.max_tracks
    try:
        container = _open(path, limits, streams=most + 1)
    except MemoryError:
        # How MP4 says that there are more.
        container = None
    if container is not None and _has_room(container, most):
        return container
    if container is not None:
        container.close()
    most += limits.max_other_streams
    container = _open(path, limits, streams=most + 1)
    if _count_tracks(container) > limits.max_tracks or not _has_room(container, most):
        container.close()
        raise InvalidMediaError(
            Sentence(
                "The file has more tracks than the {count} allowed. Extract the one "
                "that is to be transcribed.",
                count=limits.max_tracks,
            )
        )
    return container


def _open(path: Path, limits: OpeningLimits, *, streams: int) -> InputContainer:
    return av.open(
        # An absolute path cannot be read as a protocol ("concat:", "subfile,").
        str(path.absolute()),
        mode="r",
        container_options={
            "format_whitelist": FORMAT_WHITELIST,
            "protocol_whitelist": "file",
            # Matroska leaves out what is beyond.
            "max_streams": str(streams),
            # Without it FFmpeg decodes pictures to learn about the streams: one of
            # 12000×12000 in MPEG-TS took 335 MB, and 52 MB with max_pixels.
            "codec_whitelist": AUDIO_DECODERS,
        },
        options={"max_pixels": str(limits.max_pixels)},
        metadata_errors="ignore",
        timeout=(limits.open_timeout_seconds, limits.read_timeout_seconds),
    )


def _has_room(container: InputContainer, most: int) -> bool:
    """Whether all streams that matter are among those that were opened."""
    if len(container.streams) <= most:
        return True
    # Matroska has its attachments, such as fonts, after all tracks.
    return any(stream.type == "attachment" for stream in container.streams)


def _count_tracks(container: InputContainer) -> int:
    return len(container.streams.audio) + len(container.streams.video)


@contextlib.contextmanager
def media_errors(message: str) -> Iterator[None]:
    """Turn what FFmpeg and PyAV raise on broken media into InvalidMediaError.

    Their own texts hold the path, so they stay in the chain for the log.
    """
    try:
        yield
    except av.error.ExitError as error:
        raise InvalidMediaError(Sentence("Reading the file took too long.")) from error
    except MemoryError as error:
        raise InvalidMediaError(TOO_MUCH_MEMORY) from error
    except MEDIA_ERRORS as error:
        raise InvalidMediaError(message) from error


def _check_file(path: Path) -> None:
    """Refuse what is no file with bytes in it; opening a pipe would block."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidMediaError(NOT_MEDIA)
    if status.st_size == 0:
        raise InvalidMediaError(Sentence("The file is empty."))


def _audio_decoder_names() -> str:
    """Name every audio decoder of this FFmpeg, comma-separated."""
    names = set()
    for name in av.codecs_available:
        try:
            codec = av.Codec(name, "r")
        except ValueError:
            # An encoder only.
            continue
        if codec.type == "audio":
            names.add(codec.name)
    return ",".join(sorted(names))


AUDIO_DECODERS = _audio_decoder_names()
