"""The service's end of the control API: a websocket on 127.0.0.1 that only this user can open.

It knows no messages of its own. A handler gives the snapshot and answers frames, so the site
service and the coordinator service use the same server with different words.
"""

from __future__ import annotations

import asyncio
import hmac
import http
import logging
import secrets
from pathlib import Path
from typing import Final, Protocol

import msgspec
import websockets
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request as HttpRequest, Response

from app.control.address import ADDRESS_FILE, HOST, ServiceAddress, authorization, find_service
from app.domain.errors import ErrorCode, SetupProblem
from app.system.atomic import write_atomic
from app.system.locks import Holder

__all__ = ["ControlHandler", "ControlServer", "find_service"]

logger = logging.getLogger(__name__)

LARGEST_COMMAND: Final = 1 << 20
"""Bytes of one frame from a client; commands are small."""
_ANSWER_GRACE_S: Final = 2.0
_OUR_NAMES: Final = frozenset({HOST, "localhost"})
LONGEST_QUEUE: Final = 2000
"""Frames that wait for one client before it counts as stuck."""


class ControlHandler(Protocol):
    """What a service gives to its control server. Both run on the service's loop."""

    def snapshot(self) -> msgspec.Struct:
        """Return everything a client shows, as it is now."""
        ...

    async def answer(self, frame: bytes) -> msgspec.Struct | None:
        """Return the answer to one frame; None ends the connection (it was no request)."""
        ...


class ControlServer:
    """Serves snapshots, changes and answers to windows and command lines on this computer."""

    def __init__(
        self,
        *,
        home: Path,
        handler: ControlHandler,
        port: int = 0,
        longest_queue: int = LONGEST_QUEUE,
    ) -> None:
        self._home, self._handler = home, handler
        self._wanted_port = port
        self._longest_queue = longest_queue
        self._token = secrets.token_urlsafe(32)
        self._server: Server | None = None
        self._clients: dict[ServerConnection, asyncio.Queue[bytes]] = {}
        self._attending: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen on the wanted port, or a free one, and write ``control.json``.

        Raises:
            SetupProblem: the port is taken, or the file cannot be written.
        """
        try:
            self._server = await serve(
                self._attend,
                HOST,
                self._wanted_port,
                process_request=self._admit,
                compression=None,
                max_size=LARGEST_COMMAND,
                server_header=None,
                ping_interval=20,
                ping_timeout=20,
            )
        except OSError as exc:
            raise SetupProblem(
                f"the control port {self._wanted_port} cannot be used: {exc.strerror}",
                code=ErrorCode.NO_PERMISSION,
            ) from exc
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        address = ServiceAddress(port=self.port, token=self._token, holder=Holder.of_this_process())
        write_atomic(self._home / ADDRESS_FILE, msgspec.json.encode(address))

    async def stop(self) -> None:
        """Close every connection and take the address back."""
        (self._home / ADDRESS_FILE).unlink(missing_ok=True)
        if self._server is None:
            return
        self._server.close()
        if self._attending:
            await asyncio.wait(self._attending, timeout=_ANSWER_GRACE_S)
        for task in self._attending:
            task.cancel()
        await self._server.wait_closed()

    @property
    def clients(self) -> int:
        """How many clients are attached."""
        return len(self._clients)

    def broadcast(self, message: msgspec.Struct) -> None:
        """Queue `message` for every client; a client that does not read is cut off, never waited for."""
        if not self._clients:
            return
        frame = msgspec.json.encode(message)
        for connection, queue in tuple(self._clients.items()):
            if queue.qsize() >= self._longest_queue:
                logger.info("a window or command line does not read; it is cut off")
                del self._clients[connection]
                connection.transport.abort()
            else:
                queue.put_nowait(frame)

    # --- one connection ------------------------------------------------------------------------

    def _admit(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Refuse web pages (they send Origin), rebound names (Host) and everyone without the token."""
        if "Origin" in request.headers:
            return connection.respond(http.HTTPStatus.FORBIDDEN, "not for web pages\n")
        # A forwarded port (SSH) changes the number, never the name.
        if request.headers.get("Host", "").rpartition(":")[0] not in _OUR_NAMES:
            return connection.respond(http.HTTPStatus.FORBIDDEN, "not for this name\n")
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), authorization(self._token).encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no token\n")
        return None

    async def _attend(self, connection: ServerConnection) -> None:
        attending = asyncio.create_task(self._converse(connection))
        self._attending.add(attending)
        attending.add_done_callback(self._attending.discard)
        # Cancelled only by `stop`, when an answer takes too long.
        await asyncio.wait({attending})
        if not attending.cancelled():
            attending.result()

    async def _converse(self, connection: ServerConnection) -> None:
        # Snapshot and registration in one step: no change can fall between the two.
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        queue.put_nowait(msgspec.json.encode(self._handler.snapshot()))
        self._clients[connection] = queue
        writer = asyncio.create_task(_write(connection, queue))
        try:
            async for frame in connection:
                data = frame.encode() if isinstance(frame, str) else frame
                answer = await self._handler.answer(data)
                if answer is None:
                    await connection.close(1008, "not a request")
                    return
                queue.put_nowait(msgspec.json.encode(answer))
        except websockets.ConnectionClosed:
            pass
        finally:
            self._clients.pop(connection, None)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)


async def _write(connection: ServerConnection, queue: asyncio.Queue[bytes]) -> None:
    try:
        while True:
            await connection.send(await queue.get(), text=True)
    except websockets.ConnectionClosed:
        return
