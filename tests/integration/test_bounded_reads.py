"""How much of a body is read before its view was asked about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from tests.support.waiting import patient
from whisperhub.web.connections import SMALL_BODY_BYTES, SMALL_READ_BYTES
from whisperhub.web.protocol import LimitedHttpProtocol

BODY = bytes(4 * 2**20)
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(BODY)
# For the server to read on, if it does.
MOMENT_SECONDS = 0.3


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uv"]
)
def test_reads_are_small_until_the_view_was_asked(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    reads: list[int] = []

    class Watched(LimitedHttpProtocol):
        def data_received(self, data: bytes) -> None:
            reads.append(len(data))
            super().data_received(data)

    async def main() -> None:
        is_asked, may_read = asyncio.Event(), asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            is_asked.set()
            await may_read.wait()
            while (await receive())["more_body"]:
                pass
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        config = uvicorn.Config(application, http=Watched, lifespan="off", ws="none")
        config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: Watched(config=config, server_state=ServerState(), app_state={}),
            host="127.0.0.1",
            port=0,
        )
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(HEAD + BODY)
        await is_asked.wait()
        await asyncio.sleep(MOMENT_SECONDS)

        assert 0 < sum(reads) <= HIGH_WATER_LIMIT + 2 * SMALL_READ_BYTES

        may_read.set()
        assert (await reader.readline()).split()[1] == b"204"
        writer.close()
        server.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main(), patient(20)))

    assert sum(reads) == len(HEAD) + len(BODY)
    before, rest = 0, list(reads)
    while before <= SMALL_BODY_BYTES:
        assert rest[0] <= SMALL_READ_BYTES
        before += rest.pop(0)
    # An upload is read as fast as the loop can.
    assert max(rest) > SMALL_READ_BYTES
