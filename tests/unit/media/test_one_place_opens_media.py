"""Nothing but `open_media` opens media: every other way reads playlists as orders."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("transcription", "workers", "crawlers", "whisperhub", "accounts")
OPENING = ROOT / "transcription" / "media" / "opening.py"

# Functions of other libraries that open a path or a file object themselves.
OPENERS = {"decode_audio", "load_audio", "mediainfo", "mediainfo_json"}
PROGRAMS = {"ffmpeg", "ffprobe", "avconv", "avprobe"}


def find_opens(source: str) -> list[str]:
    """Name the calls and programs in a source that open media."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="av"), attr="open")):
                modes = [*node.args[1:2], *(k.value for k in node.keywords)]
                if not any(
                    isinstance(m, ast.Constant) and m.value == "w" for m in modes
                ):
                    found.append("av.open")
            case ast.ImportFrom(module=str(module), names=names):
                imported = {alias.name for alias in names}
                if module.split(".")[0] == "av" and "open" in imported:
                    found.append("from av import open")
                found += sorted(imported & OPENERS)
            case ast.Import(names=names):
                found += [a.asname for a in names if a.name == "av" and a.asname]
            case ast.Attribute(attr=name) if name in OPENERS:
                found.append(name)
            case ast.Attribute(value=ast.Name(id="AudioSegment"), attr=name) if (
                name.startswith("from_")
            ):
                found.append(f"AudioSegment.{name}")
            case ast.Constant(value=str(text)) if text.split(" ")[0].rsplit("/", 1)[
                -1
            ] in PROGRAMS and (" " not in text or " -" in text):
                found.append(text)
    return found


def test_only_open_media_opens_media() -> None:
    found = {
        str(path.relative_to(ROOT)): opens
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != OPENING and (opens := find_opens(path.read_text()))
    }

    assert found == {}


def test_open_media_calls_av_once() -> None:
    assert find_opens(OPENING.read_text()) == ["av.open"]


def test_media_are_opened_in_decoder_processes_only() -> None:
    """They have limits, and no other process dies of a file."""
    names = {"open_media", "decode_to_samples", "probe_media"}
    found = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and names & {alias.name for alias in node.names}
    }

    assert found == {
        "transcription/media/decode.py",
        "transcription/media/decoder_process.py",
        "transcription/media/probe.py",
    }


@pytest.mark.parametrize(
    "source",
    [
        "import av\nav.open(path)",
        "import av\nav.open(path, mode='r')",
        "from av import open",
        "from av.container import open",
        "import av as pyav",
        "from faster_whisper import decode_audio",
        "faster_whisper.decode_audio(path)",
        "whisper.load_audio(path)",
        "AudioSegment.from_file(path)",
        "run(['ffmpeg', '-i', path])",
        "run(['/usr/bin/ffprobe', path])",
        "system('ffmpeg -i a.mp3 b.wav')",
    ],
)
def test_the_search_finds_other_ways(source: str) -> None:
    assert find_opens(source)


@pytest.mark.parametrize(
    "source",
    [
        "import av\nav.open(path, 'w')",
        "import av\nav.open(path, mode='w', format='flac')",
        "options = {'ffmpeg_location': nowhere}",
        "'''ffmpeg is not used here.'''",
        "open(path)",
    ],
)
def test_the_search_leaves_the_rest_alone(source: str) -> None:
    assert not find_opens(source)
