"""A window's or command line's end of the control API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection, connect

from app.control.address import (
    HOST,
    LARGEST_SNAPSHOT,
    ForwardedService,
    authorization,
    find_service,
)
from app.control.messages import (
    Answer,
    AnyCommand,
    AnyReply,
    Request,
    ServerMessage,
    Snapshot,
)
from app.control.mirror import apply
from app.domain.errors import ErrorCode, LinkProblem, PeerMistake, SetupProblem

__all__ = ["ControlClient", "find_service", "open_service"]

_OPEN_TIMEOUT_S: Final = 10.0
_decoder: Final = msgspec.json.Decoder(ServerMessage)


async def open_service(where: Path | ForwardedService) -> ClientConnection:
    """Open a connection to the service of a home, or of a forwarded port, whatever it speaks.

    Raises:
        SetupProblem: no service runs there (SERVICE_NOT_RUNNING), or there is no token for it.
        LinkProblem: it runs but does not answer.
    """
    if isinstance(where, ForwardedService):
        port, token, name = where.port, where.token(), f"port {where.port}"
    else:
        address = find_service(where)
        if address is None:
            raise SetupProblem(f"no service runs for {where}", code=ErrorCode.SERVICE_NOT_RUNNING)
        port, token, name = address.port, address.token, str(where)
    try:
        return await connect(
            f"ws://{HOST}:{port}/",
            additional_headers={"Authorization": authorization(token)},
            compression=None,
            max_size=LARGEST_SNAPSHOT,
            open_timeout=_OPEN_TIMEOUT_S,
            proxy=None,
            user_agent_header=None,
        )
    except (OSError, TimeoutError, websockets.InvalidHandshake) as exc:
        raise LinkProblem(f"the service of {name} does not answer: {exc}") from exc


class ControlClient:
    """A live connection to a site service; make one with `ControlClient.connect`.

    `snapshot` is kept true by every event that has arrived. The connection does not come back by
    itself: when `events` ends, the service is gone or cut us off, and the caller connects again.
    """

    def __init__(self, connection: ClientConnection, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._connection = connection
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[AnyReply]] = {}
        self._events: asyncio.Queue[ServerMessage | None] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, where: Path | ForwardedService) -> ControlClient:
        """Attach to the service of a home or of a forwarded port and take its snapshot.

        Raises:
            SetupProblem: no service runs there (SERVICE_NOT_RUNNING).
            LinkProblem: it does not answer.
            PeerMistake: it speaks another version of the control API.
        """
        connection = await open_service(where)
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                first = _decoder.decode(await connection.recv())
        except (TimeoutError, websockets.ConnectionClosed) as exc:
            await connection.close()
            raise LinkProblem("the service does not answer") from exc
        except msgspec.DecodeError as exc:
            await connection.close()
            raise PeerMistake(
                "the running service is of another version", code=ErrorCode.VERSION
            ) from exc
        if not isinstance(first, Snapshot):
            await connection.close()
            raise PeerMistake("the running service is of another version", code=ErrorCode.VERSION)
        return cls(connection, first)

    async def events(self) -> AsyncIterator[ServerMessage]:
        """Yield every event once, in order, until the connection ends. For one consumer."""
        while (event := await self._events.get()) is not None:
            yield event

    async def request(self, command: AnyCommand, *, timeout_s: float = 30.0) -> AnyReply:
        """Send a command and return its answer.

        Raises:
            LinkProblem: the service went away or did not answer in time; the command may be done.
        """
        self._numbers += 1
        number = self._numbers
        answer: asyncio.Future[AnyReply]
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            if self._reader.done():
                raise LinkProblem("the service has gone away")
            frame = msgspec.json.encode(Request(number=number, command=command))
            async with asyncio.timeout(timeout_s):
                await self._connection.send(frame, text=True)
                return await answer
        except websockets.ConnectionClosed as exc:
            raise LinkProblem("the service has gone away") from exc
        except TimeoutError as exc:
            raise LinkProblem(f"the service did not answer within {timeout_s:.0f} s") from exc
        finally:
            del self._waiting[number]

    async def close(self) -> None:
        """Detach; the service goes on."""
        await self._connection.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def __aenter__(self) -> ControlClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _read(self) -> None:
        try:
            async for frame in self._connection:
                message = _decoder.decode(frame)
                if isinstance(message, Answer):
                    future = self._waiting.get(message.number)
                    if future is not None and not future.done():
                        future.set_result(message.answer)
                    continue
                self.snapshot = apply(self.snapshot, message)
                self._events.put_nowait(message)
        except (websockets.ConnectionClosed, msgspec.DecodeError):
            await self._connection.close()
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(LinkProblem("the service has gone away"))
            self._events.put_nowait(None)
