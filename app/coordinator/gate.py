"""Who may stand at the door: bounds on connections that have not proved who they are.

Counting begins at TCP, before TLS. When too many strangers wait, the one that waits longest is
sent away and the new one let in: a site that means it proves itself in well under a second, so a
crowd of silent sockets cannot keep it out. Addresses that keep failing are turned away at once.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any, Final

from app.system.clock import Clock

Peer = tuple[str, int]
_ADDRESSES: Final = 10_000
_WINDOW_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """How many may wait; `failures` is per address and minute."""

    strangers: int = 64
    strangers_per_address: int = 8
    connections: int = 200
    failures: int = 30


@dataclass(slots=True, kw_only=True)
class _Stranger:
    connection: GatedConnection | None
    since: float


@dataclass(slots=True)
class _Counts:
    failures: deque[float] = field(default_factory=deque)


class Gate:
    """Counts connections; `GatedSocket` asks it on every accept."""

    def __init__(self, limits: GateLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._strangers: OrderedDict[Peer, _Stranger] = OrderedDict()
        self._known: set[Peer] = set()
        self._failures: OrderedDict[str, _Counts] = OrderedDict()

    @property
    def strangers(self) -> int:
        """Connections that have not proved who they are."""
        return len(self._strangers)

    @property
    def connections(self) -> int:
        """All connections."""
        return len(self._strangers) + len(self._known)

    def enter(self, peer: Peer, connection: GatedConnection | None = None) -> bool:
        """Take note of a new connection; False when it must be closed at once."""
        if peer in self._strangers:
            return True
        if self._failed_lately(peer[0]) >= self._limits.failures:
            return False
        if len(self._known) >= self._limits.connections:
            return False
        same = [other for other in self._strangers if other[0] == peer[0]]
        if len(same) >= self._limits.strangers_per_address:
            self._evict(same[0])
        if len(self._strangers) >= self._limits.strangers:
            self._evict(next(iter(self._strangers)))
        self._strangers[peer] = _Stranger(connection=connection, since=self._clock.monotonic())
        return True

    def proved(self, peer: Peer) -> None:
        """Take note that a connection has proved who it is."""
        if self._strangers.pop(peer, None) is not None:
            self._known.add(peer)
        self._failures.pop(peer[0], None)

    def left(self, peer: Peer) -> None:
        """Take note that a connection is closed; one that never proved itself is a failure."""
        self._known.discard(peer)
        if self._strangers.pop(peer, None) is not None:
            self._count_failure(peer[0])

    def _evict(self, peer: Peer) -> None:
        stranger = self._strangers.pop(peer)
        self._count_failure(peer[0])
        if stranger.connection is not None:
            # asyncio owns the descriptor; ending both directions makes it close by itself.
            with contextlib.suppress(OSError):
                stranger.connection.shutdown(socket.SHUT_RDWR)

    def _count_failure(self, address: str) -> None:
        counts = self._failures.setdefault(address, _Counts())
        self._failures.move_to_end(address)
        counts.failures.append(self._clock.monotonic())
        while len(counts.failures) > self._limits.failures:
            counts.failures.popleft()
        while len(self._failures) > _ADDRESSES:
            self._failures.popitem(last=False)

    def _failed_lately(self, address: str) -> int:
        counts = self._failures.get(address)
        if counts is None:
            return 0
        oldest = self._clock.monotonic() - _WINDOW_S
        while counts.failures and counts.failures[0] < oldest:
            counts.failures.popleft()
        if not counts.failures:
            del self._failures[address]
            return 0
        return len(counts.failures)


class GatedConnection(socket.socket):
    """An accepted connection that tells the gate when it is closed."""

    gate: Gate | None = None
    peer: Peer = ("", 0)

    def close(self) -> None:
        if self.gate is not None:
            self.gate.left(self.peer)
            self.gate = None
        super().close()


class GatedSocket(socket.socket):
    """A listening socket that asks the gate before it hands a connection to the event loop.

    asyncio's selector loop treats ConnectionAbortedError from `accept` as "nothing to accept now"
    and asks again on the next turn. (The proactor loop of Windows accepts without asking; there
    the gate counts from the end of the TLS handshake.)
    """

    gate: Gate | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, address = super().accept()
        connection = GatedConnection(self.family, self.type, self.proto, fileno=accepted.detach())
        connection.setblocking(False)  # detaching forgets what `accept` had set
        peer = (str(address[0]), int(address[1]))
        if self.gate is not None:
            if not self.gate.enter(peer, connection):
                connection.close()
                raise ConnectionAbortedError
            connection.gate, connection.peer = self.gate, peer
        return connection, address


def listen(host: str, port: int, gate: Gate) -> list[socket.socket]:
    """Return listening sockets for every address of `host`, gated; OSError when none can be had."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            gated = GatedSocket(family, kind, protocol)
            sockets.append(gated)
            gated.gate = gate
            if sys.platform != "win32":  # there it would let two programs share the port
                gated.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                gated.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            gated.bind((address[0], port, *address[2:]))
            gated.setblocking(False)
            # Port 0 lets the system choose, once for all addresses.
            port = gated.getsockname()[1]
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets
