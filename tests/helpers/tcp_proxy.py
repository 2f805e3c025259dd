"""A TCP proxy on 127.0.0.1 that makes the network bad: delay, narrow, cut, corrupt, black-hole, drip."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

BLOCK = 16 * 1024


@dataclass(slots=True, kw_only=True)
class Weather:
    """What the network does now; a test may change it at any time.

    `delay_s` is added each way; `bytes_per_s` bounds each direction; `cut_after` closes a
    connection hard after so many bytes towards the server; `corrupt_at` flips a bit of that byte
    (counted towards the server, per connection); `black_hole` swallows everything in silence;
    `drip_s` sends one byte at a time with that pause; `refuse` closes new connections at once.
    """

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    cut_after: int | None = None
    corrupt_at: int | None = None
    black_hole: bool = False
    drip_s: float | None = None
    refuse: bool = False


@dataclass(slots=True, kw_only=True)
class TcpProxy:
    """Passes connections on to `target_port`; `connections` counts those that came."""

    target_port: int
    weather: Weather = field(default_factory=Weather)
    connections: int = 0
    to_server: int = 0
    to_client: int = 0
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection that is open now."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self.weather.refuse:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers.add(back)
            try:
                await self._both(reader, writer, there, back)
            finally:
                self._writers.discard(back)
                back.transport.abort()
        except OSError:
            return
        except asyncio.CancelledError:
            # A cancelled handler of asyncio's streams would be reported as an error.
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            self._tasks.discard(task)

    async def _both(self, reader, writer, there, back) -> None:
        out = asyncio.create_task(self._pass(reader, back, towards_server=True))
        home = asyncio.create_task(self._pass(there, writer, towards_server=False))
        try:
            await asyncio.wait({out, home}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (out, home):
                task.cancel()
            await asyncio.wait({out, home})

    async def _pass(self, reader, writer, *, towards_server: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(BLOCK):
                weather = self.weather
                if weather.black_hole:
                    continue
                if weather.delay_s:
                    await asyncio.sleep(weather.delay_s)
                if weather.bytes_per_s:
                    await asyncio.sleep(len(data) / weather.bytes_per_s)
                if towards_server:
                    data = self._harm(data, passed)
                    if weather.cut_after is not None and passed + len(data) > weather.cut_after:
                        return
                passed += len(data)
                if weather.drip_s is not None:
                    for byte in data:
                        writer.write(bytes((byte,)))
                        await asyncio.sleep(weather.drip_s)
                else:
                    writer.write(data)
                await writer.drain()
                if towards_server:
                    self.to_server += len(data)
                else:
                    self.to_client += len(data)

    def _harm(self, data: bytes, passed: int) -> bytes:
        at = self.weather.corrupt_at
        if at is None or not passed <= at < passed + len(data):
            return data
        harmed = bytearray(data)
        harmed[at - passed] ^= 1
        return bytes(harmed)

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@contextlib.asynccontextmanager
async def tcp_proxy(target_port: int, weather: Weather | None = None) -> AsyncIterator[TcpProxy]:
    """Run a proxy until the block ends."""
    proxy = TcpProxy(target_port=target_port, weather=weather or Weather())
    server = await asyncio.start_server(proxy.serve_one, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def connect_proxy(answer: str = "200 OK") -> AsyncIterator[str]:
    """Run an HTTP proxy that knows CONNECT and gives `answer`; yields its address."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ")[1].decode()
            writer.write(
                f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode()
                if not answer.startswith("200")
                else b"HTTP/1.1 200 OK\r\n\r\n"
            )
            if answer.startswith("200"):
                _host, _, port = target.rpartition(":")
                inner = TcpProxy(target_port=int(port))
                await inner.serve_one(reader, writer)
            else:
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        except asyncio.CancelledError:
            return
        finally:
            writer.transport.abort() if answer.startswith("200") else writer.close()

    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve_one(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()
