"""Clients that upload: one large file as fast as it goes, or many at a crawl.

`python -m tools.uploaders PORT KEY COUNT` keeps COUNT slow uploads going until its
input ends; it says so when all of them have begun.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

TASKS: Final = "/api/v1/tasks/"
BOUNDARY: Final = "whisperhub"
FORM_TYPE: Final = f"multipart/form-data; boundary={BOUNDARY}"
BEGIN: Final = (
    f"--{BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="file"; filename="talk.wav"\r\n'
    "Content-Type: audio/wav\r\n\r\n"
).encode()
END: Final = f"\r\n--{BOUNDARY}--\r\n".encode()
REQUEST_SECONDS: Final = 600.0
PIECE_BYTES: Final = 2**20

# A slow client's: 10 kB/s in packets of a kilobyte, of a file that it will not finish.
CRAWL_BYTES: Final = 1000
CRAWL_SECONDS: Final = 0.1
CRAWL_FILE_BYTES: Final = 100_000_000
# How many connections are opened at once: more than the server's backlog would wait.
OPENED_TOGETHER: Final = 50


@dataclass(frozen=True)
class Answer:
    """What came of an upload.

    Attributes:
        seconds: from the first byte sent to the last byte received.
    """

    status: int
    body: Any
    seconds: float


def silent_wav(size_bytes: int, *, rate: int = 48_000) -> Iterator[bytes]:
    """A WAV file of silence, piece by piece: stereo, 16 bits."""
    frame_bytes = 4
    data_bytes = (size_bytes - 44) // frame_bytes * frame_bytes
    yield b"".join(
        (
            b"RIFF" + (36 + data_bytes).to_bytes(4, "little") + b"WAVEfmt ",
            (16).to_bytes(4, "little") + b"\x01\x00\x02\x00",
            rate.to_bytes(4, "little") + (rate * frame_bytes).to_bytes(4, "little"),
            frame_bytes.to_bytes(2, "little") + (16).to_bytes(2, "little"),
            b"data" + data_bytes.to_bytes(4, "little"),
        )
    )
    piece = bytes(PIECE_BYTES)
    for at in range(0, data_bytes, PIECE_BYTES):
        yield piece[: data_bytes - at]


def upload(
    port: int, key: str, pieces: Iterable[bytes], *, size_bytes: int | None
) -> Answer:
    """Send a file to the service on this machine.

    Args:
        port: of its web server.
        key: an API key.
        pieces: of the file.
        size_bytes: of the file; None: it is sent in chunks, without a length.
    """
    headers = {"Authorization": f"Bearer {key}", "Content-Type": FORM_TYPE}
    if size_bytes is None:
        headers["Transfer-Encoding"] = "chunked"
    else:
        headers["Content-Length"] = str(len(BEGIN) + size_bytes + len(END))

    def form() -> Iterator[bytes]:
        yield BEGIN
        yield from pieces
        yield END

    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECONDS)
    connection.request(
        "POST", TASKS, form(), headers, encode_chunked=size_bytes is None
    )
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return Answer(answer.status, body, time.perf_counter() - began)


async def crawl_together(port: int, key: str, count: int) -> None:
    """Upload with several slow clients, until this is cancelled."""
    crawlers = []
    for number in range(count):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"POST {TASKS} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {key}\r\nContent-Type: {FORM_TYPE}\r\n"
            f"Content-Length: {CRAWL_FILE_BYTES}\r\n\r\n".encode()
            + BEGIN
        )
        crawlers.append(asyncio.create_task(_crawl(writer)))
        if number % OPENED_TOGETHER == 0:
            await asyncio.sleep(CRAWL_SECONDS)
    await asyncio.sleep(1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        await asyncio.gather(*crawlers)
    finally:
        for crawler in crawlers:
            crawler.cancel()


async def _crawl(writer: asyncio.StreamWriter) -> None:
    packet = bytes(CRAWL_BYTES)
    try:
        while True:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(CRAWL_SECONDS)
    finally:
        writer.close()


async def _until_input_ends(port: int, key: str, count: int) -> None:
    crawling = asyncio.create_task(crawl_together(port, key, count))
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    # Whoever started us is told of a server that refuses by our exit status.
    await asyncio.wait({crawling, ended}, return_when=asyncio.FIRST_COMPLETED)
    if crawling.done():
        crawling.result()
    crawling.cancel()


def main() -> None:
    """Crawl as the command line says."""
    parser = argparse.ArgumentParser(prog="uploaders", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("key")
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    asyncio.run(_until_input_ends(arguments.port, arguments.key, arguments.count))


if __name__ == "__main__":
    main()
