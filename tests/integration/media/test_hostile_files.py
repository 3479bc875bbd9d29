"""Crafted files read no other file, call nobody and cost little."""

from __future__ import annotations

import http.server
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from tests.support.media_files import (
    make_tone,
    write_audio,
    write_film_bomb,
    write_media,
    write_picture_bomb,
    write_silent_flac,
    write_wav,
)
from tests.support.waiting import patient
from transcription.errors import InvalidMediaError, MediaTooLongError
from transcription.media.decode import decode_to_samples
from transcription.media.opening import OpeningLimits
from transcription.media.probe import probe_media


class Listener:
    """A web server on loopback that serves one audio file and counts its visitors."""

    def __init__(self, body: bytes) -> None:
        visits: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                visits.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.visits = visits
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    audio = write_audio(tmp_path / "served.aac", make_tone(1.0), "aac")
    server = Listener(audio.read_bytes())
    yield server
    server.close()


@pytest.fixture
def neighbour(tmp_path: Path) -> Path:
    """The audio of somebody else, in the same folder."""
    write_audio(tmp_path / "neighbour.aac", make_tone(1.0), "aac")
    write_wav(tmp_path / "neighbour.wav", make_tone(1.0))
    return tmp_path / "neighbour.wav"


def make_hls(target: str) -> str:
    return (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n"
        f"{target}\n#EXT-X-ENDLIST\n"
    )


def make_hls_master(target: str) -> str:
    return f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n"


def make_ffconcat(target: str) -> str:
    return f"ffconcat version 1.0\nfile '{target}'\n"


def make_dash(target: str) -> str:
    return (
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        'type="static" mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:'
        'profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="audio/mp4">'
        '<Representation id="1" bandwidth="1" codecs="mp4a.40.2">'
        f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>\n"
    )


def make_sdp(target: str) -> str:
    port = target.rsplit(":", 1)[-1].split("/")[0]
    return (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=audio {port if port.isdigit() else 9} RTP/AVP 0\n"
    )


def make_concat(target: str) -> str:
    return f"concat:{target}|{target}"


def make_subfile(target: str) -> str:
    return f"subfile,,start,0,end,0,,:{target}"


def make_data_url(target: str) -> str:
    return f"data:audio/mpegurl,{make_hls(target)}"


CRAFTED = {
    "m3u8": make_hls,
    "hls": make_hls_master,
    "ffconcat": make_ffconcat,
    "mpd": make_dash,
    "sdp": make_sdp,
    "concat": make_concat,
    "subfile": make_subfile,
    "txt": make_data_url,
}


@pytest.mark.parametrize("under_own_name", [True, False])
@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_file_reaches_nothing(
    tmp_path: Path,
    listener: Listener,
    neighbour: Path,
    kind: str,
    under_own_name: bool,
) -> None:
    path = tmp_path / (f"crafted.{kind}" if under_own_name else "crafted.mp4")

    for target in (
        "neighbour.aac",
        "neighbour.wav",
        str(neighbour),
        f"file:{neighbour}",
        f"file://{neighbour}",
        f"{listener.url}/a.aac",
        f"{listener.url}/a.m3u8",
    ):
        path.write_text(CRAFTED[kind](target))
        with pytest.raises(InvalidMediaError):
            probe_media(path)
        with pytest.raises(InvalidMediaError):
            decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert listener.visits == []
    assert not (tmp_path / "samples").exists()


def test_without_open_media_the_same_files_do_reach_out(
    tmp_path: Path, listener: Listener, neighbour: Path
) -> None:
    path = tmp_path / "crafted.mp4"
    path.write_text(make_ffconcat("neighbour.wav"))

    with av.open(str(path)) as container:
        stolen = sum(frame.samples for frame in container.decode(audio=0))
    # The name that a client gave to an upload is enough.
    playlist = io.BytesIO(make_hls(f"{listener.url}/a.aac").encode())
    playlist.name = "a.m3u8"
    with av.open(playlist) as container:
        assert container.streams.audio

    assert stolen == 16_000
    assert listener.visits


@pytest.mark.parametrize(
    "text", ["concat:{0}|{0}", "subfile,,start,0,end,0,,:{0}", "file:{0}"]
)
def test_a_path_is_never_read_as_a_protocol(
    tmp_path: Path, neighbour: Path, text: str
) -> None:
    with pytest.raises(InvalidMediaError):
        probe_media(Path(text.format(neighbour)))


def test_a_network_path_is_a_missing_file(listener: Listener) -> None:
    with pytest.raises(InvalidMediaError):
        probe_media(Path(f"{listener.url}/a.aac"))

    assert listener.visits == []


def test_silence_of_many_hours_stops_at_the_limit(tmp_path: Path) -> None:
    path = write_silent_flac(tmp_path / "a.flac", hours=6, claimed_hours=0)
    seen: list[float] = []

    with pytest.raises(MediaTooLongError):
        decode_to_samples(
            path, tmp_path / "samples", max_seconds=3600, on_progress=seen.append
        )

    assert 3500 < seen[-1] <= 3600
    assert list(tmp_path.iterdir()) == [path]


def test_a_header_that_claims_too_much_refuses_nothing(tmp_path: Path) -> None:
    path = write_silent_flac(tmp_path / "a.flac", hours=0.01, claimed_hours=30)

    decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=3600)

    assert decoded.facts.duration_seconds == pytest.approx(30 * 3600)
    assert decoded.duration_seconds == pytest.approx(36, abs=5)


@pytest.mark.parametrize("container", ["matroska", "mov"])
def test_too_many_streams_are_refused(tmp_path: Path, container: str) -> None:
    many = write_many_streams(tmp_path / "many", streams=65, container=container)
    some = write_many_streams(tmp_path / "some", streams=64, container=container)

    with pytest.raises(InvalidMediaError, match="more tracks than the 64 allowed"):
        probe_media(many)

    assert probe_media(some).audio_streams == 64
    with pytest.raises(InvalidMediaError):
        probe_media(some, limits=OpeningLimits(max_tracks=63))


@pytest.mark.parametrize("container", ["matroska", "mov"])
def test_subtitles_are_no_tracks_of_sound(tmp_path: Path, container: str) -> None:
    path = write_beside_subtitles(tmp_path / "a", container=container, subtitles=100)

    decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert decoded.duration_seconds == pytest.approx(1.0, abs=0.1)
    with pytest.raises(InvalidMediaError):
        probe_media(path, limits=OpeningLimits(max_other_streams=30))


def test_attached_fonts_are_no_tracks_of_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(200):
            output.add_attachment(f"{number}.ttf", "font/ttf", b"font")
        frame = av.AudioFrame.from_ndarray(make_tone(1.0).T, "s16", "mono")
        frame.sample_rate = 16_000
        output.mux(stream.encode(frame))

    decoded = decode_to_samples(path, tmp_path / "samples", max_seconds=60)

    assert decoded.duration_seconds == 1


def test_many_tracks_behind_a_subtitle_cost_little_memory(tmp_path: Path) -> None:
    path = write_beside_subtitles(
        tmp_path / "a", container="matroska", subtitles=1, audio_streams=900
    )
    ordinary = write_audio(tmp_path / "ordinary", make_tone(5.0), "m4a")

    outcome, megabytes = measure_growth(ordinary, path)

    assert outcome == "invalid_media"
    assert megabytes < 30


def write_beside_subtitles(
    path: Path, *, container: str, subtitles: int, audio_streams: int = 1
) -> Path:
    """Write a second of sound on some tracks, after empty tracks of subtitles."""
    with av.open(str(path), "w", format=container) as output:
        for _ in range(subtitles):
            codec = "subrip" if container == "matroska" else "mov_text"
            subtitle: Any = output.add_stream(codec)
            subtitle.codec_context.subtitle_header = b"[Script Info]\n"
        for _ in range(audio_streams):
            output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        tone = make_tone(1.0 if audio_streams == 1 else 0.01)
        for stream in output.streams.audio:
            frame = av.AudioFrame.from_ndarray(tone.T, "s16", "mono")
            frame.sample_rate = 16_000
            output.mux(stream.encode(frame))
    return path


def write_many_streams(
    path: Path, *, streams: int, container: str = "matroska"
) -> Path:
    return write_media(
        path,
        make_tone(0.1),
        container=container,
        audio_codec="pcm_s16le",
        audio_streams=streams,
    )


# What one file may add to the peak memory of a process that has decoded before.
MEMORY_PROBE = """
import sys
from pathlib import Path
import av
from transcription.errors import MediaError
from transcription.media.decode import decode_to_samples

def read_peak_kilobytes():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

def decode(path):
    try:
        decode_to_samples(path, folder / "samples", max_seconds=4 * 3600)
    except MediaError as error:
        return error.code
    return "decoded"

ordinary, hostile = Path(sys.argv[1]), Path(sys.argv[2])
folder = ordinary.parent
decode(ordinary)
before = read_peak_kilobytes()
if sys.argv[3] == "unguarded":
    av.open(str(hostile)).close()
    outcome = "opened"
else:
    outcome = decode(hostile)
print(outcome, (read_peak_kilobytes() - before) // 1024)
"""


def measure_growth(
    ordinary: Path, hostile: Path, how: str = "guarded"
) -> tuple[str, int]:
    """Decode a file in a fresh process, or merely open it "unguarded".

    Returns:
        The outcome, and by how many megabytes the peak memory grew.
    """
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_PROBE, str(ordinary), str(hostile), how],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=patient(90),
    )
    outcome, megabytes = result.stdout.split()
    return outcome, int(megabytes)


needs_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the peak from Linux"
)


@needs_linux
@pytest.mark.parametrize("container", ["matroska", "mpegts"])
def test_no_picture_is_decoded_on_opening(tmp_path: Path, container: str) -> None:
    ordinary = write_audio(tmp_path / "ordinary", make_tone(5.0), "m4a")
    bomb = write_film_bomb(tmp_path / "bomb", container=container)

    _, unguarded = measure_growth(ordinary, bomb, "unguarded")
    outcome, guarded = measure_growth(ordinary, bomb)

    assert outcome == "decoded"
    assert unguarded > 50
    assert guarded < 20


@needs_linux
@pytest.mark.parametrize("bomb", ["silence", "picture", "streams", "slow rate"])
def test_a_bomb_costs_little_memory(tmp_path: Path, bomb: str) -> None:
    ordinary = write_audio(tmp_path / "ordinary", make_tone(5.0), "m4a")
    hostile = tmp_path / "hostile"
    match bomb:
        case "silence":
            write_silent_flac(hostile, hours=24, claimed_hours=0)
            expected = "media_too_long"
        case "picture":
            write_picture_bomb(hostile)
            expected = "decoded"
        case "streams":
            write_many_streams(hostile, streams=900)
            expected = "invalid_media"
        case "slow rate":
            write_wav(hostile, make_tone(100.0, rate=1000), rate=1000)
            expected = "decoded"

    outcome, megabytes = measure_growth(ordinary, hostile)

    assert outcome == expected
    assert megabytes < 30
