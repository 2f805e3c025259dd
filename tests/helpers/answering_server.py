"""A server that gives every caller one answer and hangs up, whoever they are and however they leave."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def answering_server(
    answer: bytes, *, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Listen on loopback until the block ends; yields the port.

    The answer follows the caller's first bytes, whatever they say. A caller that gives up before it
    has said anything, as a link does that is closed while it connects, is no fault of the test's.
    """

    callers: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        callers.add(task)
        with contextlib.suppress(OSError):
            if await reader.read(4096):
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if callers:
            await asyncio.wait(callers)
        await server.wait_closed()
