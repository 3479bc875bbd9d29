"""The file types that are accepted and refused, by extension.

One table has every extension that people use for sound and films: those that are
accepted, with the demuxers of FFmpeg that read them, and those that are not, with the
reason. docs/configuration.md shows it. WHISPERHUB_ALLOWED_TYPES narrows what is
accepted.

The name of an upload is checked when it is submitted, its content when it is decoded:
a name can be wrong or missing, and a link has none that counts. This module knows
neither Django nor FFmpeg, because settings and the decoder process both read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from whisperhub.sentences import Sentence

AUDIO: Final = "audio"
VIDEO: Final = "video"


@dataclass(frozen=True)
class FileType:
    """One accepted extension.

    Attributes:
        extension: in small letters, without its dot.
        kind: `audio`: such a file has no pictures but cover art; `video`: it may have.
        demuxers: FFmpeg's names of the demuxers that read it.
    """

    extension: str
    kind: str
    demuxers: tuple[str, ...]


# FFmpeg's demuxers, and the extensions that each reads; the usual one of each first.
# All of them read one file and follow no reference out of it, and recognise a file by
# its content: the service stores uploads without their names. Every further one is
# more code that strangers' files reach, so keep out what hardly anybody needs.
_AUDIO_DEMUXERS: Final = {
    "aac": "aac adts",
    "ac3": "ac3",
    "aiff": "aiff aif aifc",
    "amr": "amr awb",
    "ape": "ape",
    "asf": "wma",
    "au": "au snd",
    "caf": "caf",
    "dsf": "dsf",
    "dts": "dts",
    "eac3": "eac3 ec3",
    "flac": "flac",
    "gsm": "gsm",
    "iff": "dff",
    "matroska": "mka weba",
    "mov": "m4a m4b m4r f4a f4b isma",
    "mp3": "mp3 mp2 mp1 mpa mpga m2a",
    "mpc mpc8": "mpc mpp mp+",
    "ogg": "ogg oga opus spx",
    "rm": "ra",
    "tak": "tak",
    "tta": "tta",
    "voc": "voc",
    "w64": "w64",
    "wav": "wav wave bwf rf64",
    "wv": "wv",
}
_VIDEO_DEMUXERS: Final = {
    "asf": "wmv asf",
    "avi": "avi divx xvid amv",
    "dv": "dv dif",
    "flv": "flv",
    "gxf": "gxf",
    "matroska": "mkv webm mk3d",
    "mov": "mp4 mov m4v qt 3gp 3gpp 3g2 3gpp2 f4v ismv",
    "mpeg": "mpg mpeg mpe m2p vob",
    "mpegts": "ts mts m2ts m2t",
    "mxf": "mxf",
    "nut": "nut",
    "ogg": "ogv ogm ogx",
    "rm": "rm rmvb",
}


def _file_types(kind: str, demuxers: dict[str, str]) -> Iterable[FileType]:
    for names, extensions in demuxers.items():
        for extension in extensions.split():
            yield FileType(extension, kind, tuple(names.split()))


ACCEPTED: Final[dict[str, FileType]] = {
    found.extension: found
    for found in (
        *_file_types(AUDIO, _AUDIO_DEMUXERS),
        *_file_types(VIDEO, _VIDEO_DEMUXERS),
    )
}
DEMUXERS: Final = tuple(
    sorted({name for found in ACCEPTED.values() for name in found.demuxers})
)

# Why the others are refused. Each reason says what to do instead.
_NOTES = Sentence(
    "It holds notes for a synthesizer, not recorded sound. Render it to WAV first."
)
_PLAYLIST = Sentence(
    "It is a playlist: it names other files and has no sound of its own. Send the "
    "recordings themselves."
)
_PICTURES = Sentence(
    "It holds pictures without sound. Send the film with its sound, such as MP4."
)
_TEXT = Sentence("It holds text, not sound. Send the recording itself.")
_PROTECTED = Sentence(
    "It is protected against copying and cannot be decoded without the key of its "
    "owner. Send an unprotected copy."
)
_HEADERLESS = Sentence(
    "Its sound has no header that tells its codec and sample rate. Convert it to WAV "
    "first."
)
_UNDECODABLE = Sentence(
    "The server has no decoder for it. Convert it to another format, such as WAV or "
    "FLAC, with the program that made it."
)
_UNCOMMON = Sentence(
    "The format is hardly used any more, and the server does not run its decoder on "
    "files of strangers. Convert it to another format, such as MP4 or FLAC, first."
)
_PROGRAM = Sentence("It is a program with sounds in it. Send the recording itself.")

REFUSED: Final[dict[str, Sentence]] = {
    extension: reason
    for reason, extensions in (
        (_NOTES, "mid midi kar rmi xmf imy mod xm it s3m"),
        (
            _PLAYLIST,
            "m3u m3u8 pls mpd ram rpm asx wax wvx wpl xspf f4m ism smil sdp cue apl "
            "ffconcat",
        ),
        (
            _PICTURES,
            "m1v m2v mpv h261 h263 h264 264 avc h265 265 hevc obu ivf y4m yuv mjpeg "
            "mjpg gif",
        ),
        (_TEXT, "srt vtt ass ssa sub sbv ttml lrc mks"),
        (_PROTECTED, "m4p aa aax aaxc f4p"),
        (_HEADERLESS, "pcm raw vox sln al ul g722 g726 g729"),
        (_UNDECODABLE, "ac4 dss ds2 la ofr"),
        (_UNCOMMON, "shn wtv nsv bik smk vqf oma aa3 8svx"),
        (_PROGRAM, "swf"),
    )
    for extension in extensions.split()
}


def extension_of(name: str) -> str:
    """The extension of a file's name in small letters; empty if it has none."""
    stem, dot, extension = name.strip().rpartition(".")
    return extension.lower() if dot and stem else ""


@dataclass(frozen=True)
class AllowedTypes:
    """What WHISPERHUB_ALLOWED_TYPES lets in.

    Attributes:
        words: accepted extensions, and `audio` and `video` for all of one kind.
    """

    words: tuple[str, ...] = (AUDIO, VIDEO)

    def __str__(self) -> str:
        """The words, as a sentence has them."""
        return ", ".join(self.words)

    def has_extension(self, extension: str) -> bool:
        """Whether an extension of the accepted ones is allowed."""
        return self._has(ACCEPTED[extension])

    def has_content(self, format_name: str, *, has_video: bool) -> bool:
        """Whether a file may have this content.

        Types of one demuxer differ in their names alone, so any of them that is allowed
        will do; but pictures need one that may have pictures.

        Args:
            format_name: FFmpeg's names of the format, separated by commas.
            has_video: beside cover art.
        """
        if {AUDIO, VIDEO} <= set(self.words):
            return True
        return any(self._has(found) for found in _fitting(format_name, has_video))

    def _has(self, found: FileType) -> bool:
        return found.extension in self.words or found.kind in self.words


EVERY_TYPE: Final = AllowedTypes()


def usual_extension(format_name: str, *, has_video: bool) -> str:
    """The extension that a file of this content usually has.

    Args:
        format_name: FFmpeg's names of the format, separated by commas.
        has_video: beside cover art.
    """
    for found in _fitting(format_name, has_video):
        return found.extension
    return format_name.partition(",")[0]


def _fitting(format_name: str, has_video: bool) -> Iterable[FileType]:
    """The types that a file of this content may be, the most usual one first."""
    names = set(format_name.split(","))
    for found in ACCEPTED.values():
        if names & set(found.demuxers) and (found.kind == VIDEO or not has_video):
            yield found


def parse_allowed_types(raw: str) -> AllowedTypes:
    """Read WHISPERHUB_ALLOWED_TYPES.

    Raises:
        ValueError: a word is no accepted extension, and neither `audio` nor `video`.
    """
    items = (item.strip().lower().removeprefix(".") for item in raw.split(","))
    # Each once, in the order of the operator.
    words = tuple(dict.fromkeys(item for item in items if item))
    if not words:
        raise ValueError("it names no type. Leave it empty to allow all.")
    for word in words:
        if word in REFUSED:
            raise ValueError(f"{word!r} cannot be allowed. {REFUSED[word]}")
        if word not in ACCEPTED and word not in (AUDIO, VIDEO):
            raise ValueError(
                f"{word!r} is no file extension that is accepted, and neither "
                "'audio' nor 'video'. docs/configuration.md lists the extensions."
            )
    return AllowedTypes(words)
