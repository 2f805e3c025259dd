"""A client of the control API without an event loop: for the thread that keeps the window attached.

The window is to be live sooner than an event loop and the asynchronous half of the network library
can be imported (decision 0064). The protocol itself is the library's, without input and output.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from app.control.address import (
    HOST,
    LARGEST_SNAPSHOT,
    ForwardedService,
    authorization,
    read_address,
)
from app.control.messages import AnyCommand, Request, ServerMessage, Snapshot
from app.domain.errors import ErrorCode, LinkProblem, PeerMistake, SetupProblem

_OPEN_TIMEOUT_S: Final = 10.0
_SILENCE_S: Final = 60.0
"""A service asks every 20 s whether we are there; one that is quiet for this long is not."""
_CHUNK: Final = 1 << 18
_TEXTS: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
_decoder: Final = msgspec.json.Decoder(ServerMessage)


class BlockingClient:
    """A live connection to a site service; make one with `BlockingClient.connect`.

    For one thread; `wake` alone may be called from any. The connection does not come back by
    itself: when `receive` raises LinkProblem the service is gone, and the caller connects again.
    """

    def __init__(self, connection: socket.socket, protocol: ClientProtocol) -> None:
        self._socket, self._protocol = connection, protocol
        self._bell, self._ringer = socket.socketpair()
        self._ringer.setblocking(False)
        self._numbers = 0
        self._parts: list[bytes] = []
        self._heard_at = time.monotonic()

    @classmethod
    def connect(cls, where: Path | ForwardedService) -> tuple[BlockingClient, Snapshot]:
        """Attach to the service of a home or of a forwarded port; return the client, the snapshot.

        Raises:
            SetupProblem: no service runs there (SERVICE_NOT_RUNNING), or there is no token for it.
            LinkProblem: it does not answer.
            PeerMistake: it speaks another version of the control API.
        """
        if isinstance(where, ForwardedService):
            return cls._attach(where.port, where.token(), f"port {where.port}")
        address = read_address(where)
        stopped = SetupProblem(f"no service runs for {where}", code=ErrorCode.SERVICE_NOT_RUNNING)
        if address is None:
            raise stopped
        try:
            return cls._attach(address.port, address.token, str(where))
        except LinkProblem as exc:
            # The address of a service that crashed: nobody, or another program, listens there.
            if not address.holder.alive:
                raise stopped from exc
            raise

    @classmethod
    def _attach(cls, port: int, token: str, name: str) -> tuple[BlockingClient, Snapshot]:
        protocol = ClientProtocol(
            parse_uri(f"ws://{HOST}:{port}/"), extensions=[], max_size=LARGEST_SNAPSHOT
        )
        try:
            connection = socket.create_connection((HOST, port), timeout=_OPEN_TIMEOUT_S)
        except OSError as exc:
            raise LinkProblem(f"the service of {name} does not answer: {exc}") from exc
        client = cls(connection, protocol)
        try:
            request = protocol.connect()
            request.headers["Authorization"] = authorization(token)
            protocol.send_request(request)
            return client, client._first(name)
        except BaseException:
            client.close()
            raise

    def _first(self, name: str) -> Snapshot:
        """Return what a service says first, within the time that opening may take."""
        ends = time.monotonic() + _OPEN_TIMEOUT_S
        while (left := ends - time.monotonic()) > 0:
            try:
                messages = self.receive(left)
            except LinkProblem as exc:
                refused = self._protocol.handshake_exc or exc
                raise LinkProblem(f"the service of {name} does not answer: {refused}") from exc
            if messages:
                first, *later = messages
                if not isinstance(first, Snapshot) or later:
                    raise PeerMistake(
                        "the running service is of another version", code=ErrorCode.VERSION
                    )
                return first
        raise LinkProblem(f"the service of {name} does not answer in time")

    # --- conversation --------------------------------------------------------------------------

    def receive(self, timeout_s: float) -> tuple[ServerMessage, ...]:
        """Wait for messages and return them; none when woken or when `timeout_s` has passed.

        Raises:
            LinkProblem: the service has gone away.
            PeerMistake: it says what this version does not know.
        """
        try:
            self._flush()
            ready, _, _ = select.select([self._socket, self._bell], [], [], max(0.0, timeout_s))
            if self._bell in ready:
                self._bell.recv(_CHUNK)
            if self._socket in ready:
                self._heard_at = time.monotonic()
                data = self._socket.recv(_CHUNK)
                if data:
                    self._protocol.receive_data(data)
                else:
                    self._protocol.receive_eof()
                self._flush()
        except (OSError, ProtocolError) as exc:
            raise LinkProblem("the service has gone away") from exc
        frames = self._frames()
        gone = (
            self._protocol.handshake_exc is not None
            or self._protocol.state in (State.CLOSING, State.CLOSED)
            or time.monotonic() - self._heard_at > _SILENCE_S
        )
        if gone and not frames:
            raise LinkProblem("the service has gone away")
        try:
            return tuple(_decoder.decode(frame) for frame in frames)
        except msgspec.DecodeError as exc:
            raise PeerMistake(
                "the running service is of another version", code=ErrorCode.VERSION
            ) from exc

    def send(self, command: AnyCommand) -> int:
        """Send a command with the next `receive`; return the number that its answer will carry."""
        self._numbers += 1
        frame = msgspec.json.encode(Request(number=self._numbers, command=command))
        self._protocol.send_text(frame)
        return self._numbers

    def wake(self) -> None:
        """Let `receive` return at once."""
        try:
            self._ringer.send(b"!")
        except OSError:
            # Full: it wakes anyway. Closed: nobody waits any more.
            return

    def close(self) -> None:
        """Detach; the service goes on."""
        with suppress(OSError):
            if self._protocol.state is State.OPEN:
                self._protocol.send_close()
                self._flush()
        for each in (self._socket, self._bell, self._ringer):
            each.close()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)
            else:
                self._socket.shutdown(socket.SHUT_WR)

    def _frames(self) -> list[bytes]:
        """Return the texts that are complete."""
        complete = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in _TEXTS:
                self._parts.append(bytes(event.data))
                if event.fin:
                    complete.append(b"".join(self._parts))
                    self._parts.clear()
        return complete
