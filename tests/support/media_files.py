"""Make media files for tests: ordinary, broken and hostile ones. None lies in git."""

from __future__ import annotations

import itertools
import struct
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

Samples = NDArray[np.int16]

# Suffix, container and codec of the ordinary kinds, and the rates their encoders take.
AUDIO_KINDS: dict[str, tuple[str, str]] = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "libmp3lame"),
    "m4a": ("ipod", "aac"),
    "aac": ("adts", "aac"),
    "flac": ("flac", "flac"),
    "ogg": ("ogg", "libopus"),
    "webm": ("webm", "libopus"),
    "mka": ("matroska", "flac"),
}

DSD_RATE = 2_822_400
DSF_BLOCK = 4096
DSD_SILENCE = b"\x69"


def make_tone(
    seconds: float, *, rate: int = 16_000, channels: int = 1, seed: int = 0
) -> Samples:
    """Make a chirp with some noise, so that a shift or a lost block shows.

    Returns:
        Samples of shape (n_samples, channels).
    """
    count = round(seconds * rate)
    time = np.arange(count) / rate
    noise = np.random.default_rng(seed).normal(0, 300, (count, channels))
    sweep = 6000 * np.sin(2 * np.pi * (200 + 40 * time) * time)
    return (sweep[:, None] + noise).astype(np.int16)


def write_wav(path: Path, samples: Samples, *, rate: int = 16_000) -> Path:
    """Write samples of shape (n_samples, channels) with the standard library."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def write_media(
    path: Path,
    samples: Samples | None,
    *,
    container: str,
    audio_codec: str = "aac",
    rate: int = 16_000,
    video_codec: str | None = None,
    video_seconds: float = 1.0,
    video_size: tuple[int, int] = (64, 48),
    video_rate: int = 10,
    audio_offset_seconds: float = 0.0,
    audio_streams: int = 1,
    shift: Callable[[float], float] | None = None,
) -> Path:
    """Encode samples, and a grey picture if a video codec is named, into one file.

    Args:
        path: the file to write.
        samples: shape (n_samples, channels); None for no audio stream.
        container: FFmpeg's name of the format.
        audio_codec: FFmpeg's name of the audio encoder.
        rate: of the samples, in hertz.
        video_codec: FFmpeg's name of the video encoder.
        video_seconds: length of the video.
        video_size: its width and height.
        video_rate: its pictures a second.
        audio_offset_seconds: where the audio starts on the file's time line.
        audio_streams: how many streams carry the same audio.
        shift: gives the new time of a packet, in seconds, by its own.
    """
    with av.open(str(path), "w", format=container) as output:
        streams: list[Iterator[Any]] = []
        if video_codec is not None:
            count = round(video_seconds * video_rate)
            streams.append(
                _video_packets(output, video_codec, count, video_size, video_rate)
            )
        if samples is not None:
            streams += [
                _audio_packets(output, audio_codec, samples, rate, audio_offset_seconds)
                for _ in range(audio_streams)
            ]
        for packets in streams:
            # The first step of each adds its stream, before the header is written.
            next(packets)
        for packet in itertools.chain.from_iterable(streams):
            if shift is not None:
                _move(packet, shift)
            output.mux(packet)
    return path


def _move(packet: Any, shift: Callable[[float], float]) -> None:
    own = float(packet.pts * packet.time_base)
    by = round((shift(own) - own) / packet.time_base)
    packet.pts += by
    packet.dts += by


def write_audio(path: Path, samples: Samples, kind: str, *, rate: int = 16_000) -> Path:
    """Encode samples as one of AUDIO_KINDS."""
    container, codec = AUDIO_KINDS[kind]
    return write_media(path, samples, container=container, audio_codec=codec, rate=rate)


def write_gsm(path: Path, *, seconds: float) -> Path:
    """Write raw GSM 06.10, 50 frames a second, none of which has any sound."""
    path.write_bytes((b"\xd0" + bytes(32)) * round(seconds * 50))
    return path


def write_dsf(path: Path, *, seconds: float) -> Path:
    """Write one channel of DSD64 to Sony's DSF: bits that alternate are silence."""
    blocks = round(seconds * DSD_RATE / 8 / DSF_BLOCK)
    size = blocks * DSF_BLOCK
    facts = (1, 0, 1, 1, DSD_RATE, 1, size * 8, DSF_BLOCK, 0)
    layout = b"fmt " + struct.pack("<QIIIIIIQII", 52, *facts)
    sound = b"data" + struct.pack("<Q", 12 + size) + DSD_SILENCE * size
    length = 28 + len(layout) + len(sound)
    head = b"DSD " + struct.pack("<QQQ", 28, length, 0)
    path.write_bytes(head + layout + sound)
    return path


def write_dff(path: Path, *, seconds: float) -> Path:
    """Write one channel of DSD64 to Philips' DSDIFF; see `write_dsf`."""

    def chunk(name: bytes, content: bytes) -> bytes:
        padding = bytes(len(content) % 2)
        return name + struct.pack(">Q", len(content)) + content + padding

    facts = (
        b"SND "
        + chunk(b"FS  ", struct.pack(">I", DSD_RATE))
        + chunk(b"CHNL", struct.pack(">H", 1) + b"C   ")
        + chunk(b"CMPR", b"DSD \x0enot compressed\0")
    )
    sound = DSD_SILENCE * round(seconds * DSD_RATE / 8)
    version = chunk(b"FVER", b"\1\5\0\0")
    content = b"DSD " + version + chunk(b"PROP", facts) + chunk(b"DSD ", sound)
    path.write_bytes(chunk(b"FRM8", content))
    return path


def write_rf64(path: Path, samples: Samples) -> Path:
    """Write 16 kHz mono as WAV with sizes of 64 bits, which stand in a chunk first."""
    wav = write_wav(path, samples).read_bytes()
    size = samples.nbytes
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, len(wav) + 28, size, len(samples), 0)
    layout, sound = wav[12:36], wav[44:]
    unknown = b"\xff" * 4
    path.write_bytes(
        b"RF64" + unknown + b"WAVE" + sizes + layout + b"data" + unknown + sound
    )
    return path


def write_tracks(
    path: Path, *contents: Samples, default: int | None = None, languages: str = ""
) -> Path:
    """Write tracks of 16 kHz mono side by side, shapes (n_samples, 1), to Matroska.

    Args:
        path: the file to write.
        contents: the sound of each.
        default: which of them is the default one.
        languages: of each, with a blank between; they then have titles as well.
    """
    with av.open(str(path), "w", format="matroska") as output:
        for number in range(len(contents)):
            stream = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
            is_default = number == default
            stream.disposition = Disposition.default if is_default else Disposition(0)
            if languages:
                stream.metadata["language"] = languages.split()[number]
                stream.metadata["title"] = f"Title {number}"
        longest = max(len(content) for content in contents)
        for start in range(0, longest, 1600):
            for stream, content in zip(output.streams.audio, contents, strict=True):
                block = content[start : start + 1600]
                if len(block):
                    frame = av.AudioFrame.from_ndarray(
                        np.ascontiguousarray(block.T), "s16", "mono"
                    )
                    frame.sample_rate = 16_000
                    frame.pts = start
                    output.mux(stream.encode(frame))
    return path


def write_silent_flac(
    path: Path, *, hours: float, claimed_hours: float | None = None
) -> Path:
    """Write hours of 16 kHz mono silence, some 13 kB an hour, byte by byte.

    Every frame is the longest FLAC allows and holds one constant. The header claims
    another length if one is given; 0: it does not tell.
    """
    rate, block = 16_000, 65_535
    frames = round(hours * 3600 * rate / block)
    claimed = hours if claimed_hours is None else claimed_hours
    with path.open("wb") as file:
        # Block sizes, unknown frame sizes, then 20 bits of rate, 3 of channels - 1,
        # 5 of sample bits - 1 and 36 of sample count, then no checksum.
        packed = rate << 44 | 0 << 41 | 15 << 36
        packed |= round(claimed * 3600 * rate)
        info = block.to_bytes(2) * 2 + bytes(6) + packed.to_bytes(8) + bytes(16)
        file.write(b"fLaC\x80" + len(info).to_bytes(3) + info)
        for number in range(frames):
            # A 16-bit block size, 16 kHz; mono, 16 bits; the number coded like UTF-8.
            head = b"\xff\xf8\x75\x08" + chr(number).encode("utf-8", "surrogatepass")
            head += (block - 1).to_bytes(2)
            frame = head + _crc(head, 0x07, 8) + b"\0\0\0"
            file.write(frame + _crc(frame, 0x8005, 16))
    return path


def write_picture_bomb(path: Path, *, side: int = 16_000) -> Path:
    """Write audio beside a video track whose only picture is side×side, all grey.

    The picture is a JPEG of two bits for every 64 pixels: side² bytes when decoded.
    """
    tables = b"\xff\xdb\0\x43\0" + bytes([1]) * 64
    size = side.to_bytes(2) * 2
    tables += b"\xff\xc0\0\x0b\x08" + size + b"\x01\x01\x11\0"
    for table in (b"\0", b"\x10"):
        # One code, a single zero bit: no difference, and end of block.
        tables += b"\xff\xc4\0\x14" + table + b"\x01" + bytes(15) + b"\0"
    scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + bytes(side * side // 256)
    jpeg = b"\xff\xd8" + tables + scan + b"\xff\xd9"
    with av.open(str(path), "w", format="matroska") as output:
        video: Any = output.add_stream("mjpeg", rate=1)
        video.width = video.height = side
        video.pix_fmt = "yuvj420p"
        audio = _audio_packets(output, "flac", make_tone(1.0), 16_000, 0.0)
        next(audio)
        packet = av.Packet(jpeg)
        packet.stream = video
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = 0
        output.mux(packet)
        for audio_packet in audio:
            output.mux(audio_packet)
    return path


def write_film_bomb(path: Path, *, container: str, side: int = 6_400) -> Path:
    """Write audio beside one H.264 picture of side×side, all grey, in 140 kB.

    FFmpeg decodes it merely to learn what it is, unlike the JPEG above.
    """
    with av.open(str(path), "w", format=container) as output:
        video: Any = output.add_stream(
            "libx264", rate=25, options={"preset": "ultrafast", "threads": "1"}
        )
        video.width = video.height = side
        video.pix_fmt = "yuv420p"
        audio = _audio_packets(output, "aac", make_tone(1.0), 16_000, 0.0)
        next(audio)
        picture = np.full((side * 3 // 2, side), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = 0
        frame.time_base = Fraction(1, 25)
        for packet in [*video.encode(frame), *video.encode(None), *audio]:
            output.mux(packet)
    return path


def _crc(data: bytes, polynomial: int, bits: int) -> bytes:
    """Compute FLAC's CRC-8 or CRC-16, most significant bit first."""
    value = 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value <<= 1
            if value >> bits:
                value = value & ((1 << bits) - 1) ^ polynomial
    return value.to_bytes(bits // 8)


def _audio_packets(
    output: Any, codec: str, samples: Samples, rate: int, offset_seconds: float
) -> Iterator[Any]:
    """Add an audio stream, yield once, then yield its packets."""
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[samples.shape[1]]
    stream = output.add_stream(codec, rate=rate)
    stream.layout = layout
    yield None
    stream.codec_context.open(strict=False)
    size = stream.codec_context.frame_size or 1024
    for start in range(0, len(samples), size):
        block = samples[start : start + size].reshape(1, -1)
        frame = _frame(block, rate, start + round(offset_seconds * rate), layout)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _video_packets(
    output: Any, codec: str, count: int, size: tuple[int, int], rate: int
) -> Iterator[Any]:
    """Add a grey video stream, yield once, then yield its packets."""
    stream = output.add_stream(codec, rate=rate)
    stream.width, stream.height = width, height = size
    stream.pix_fmt = "yuv420p"
    yield None
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(
            np.full((height * 3 // 2, width), 128, np.uint8), format="yuv420p"
        )
        frame.pts = index
        frame.time_base = Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _frame(block: Samples, rate: int, pts: int, layout: str = "mono") -> Any:
    """Wrap interleaved samples of shape (1, n) in a frame."""
    frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
    frame.sample_rate = rate
    frame.pts = pts
    frame.time_base = Fraction(1, rate)
    return frame


def write_table_bomb(path: Path, *, tracks: int = 8, frames: int = 2_000_000) -> Path:
    """Write MP4 whose tables claim many frames of one byte, in some bytes each.

    FFmpeg makes an entry of 24 bytes of every frame when it opens the file.
    """
    write_media(
        path,
        make_tone(0.1),
        container="mp4",
        audio_codec="aac",
        audio_streams=tracks,
    )
    content = bytearray(path.read_bytes())
    count = struct.pack(">I", frames)
    for box, patches in {
        # Size of all frames, and their count.
        b"stsz": ((8, struct.pack(">I", 1)), (12, count)),
        # One entry: so many frames of that length.
        b"stts": ((8, struct.pack(">I", 1)), (12, count)),
        # One entry: so many frames in each chunk.
        b"stsc": ((8, struct.pack(">I", 1)), (16, count)),
    }.items():
        at = content.find(box)
        while at >= 0:
            for offset, value in patches:
                content[at + offset : at + offset + 4] = value
            at = content.find(box, at + 1)
    path.write_bytes(content)
    return path
