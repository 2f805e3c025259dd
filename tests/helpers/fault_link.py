"""A link whose chunks are now and then damaged or doubled on their way out, below all its checks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from app.site import link
from app.wire.blobs import HEADER_BYTES, is_chunk, unpack_header


class Faults:
    """Which share of chunks, evenly spread, and what was done so far.

    `payload_bytes` counts every chunk that was sent. `seed` decides which byte and bit is harmed
    and where the counting begins.
    """

    def __init__(self, *, seed: int, corrupt: float = 0.0, double: float = 0.0) -> None:
        self.chance = random.Random(seed)
        self.corrupt, self.double = corrupt, double
        self.corrupted = self.doubled = self.payload_bytes = 0
        self._chunks = self.chance.randrange(1000)

    def frames(self, frame: bytes | bytearray) -> Iterator[bytes | bytearray]:
        """What goes out instead of `frame`."""
        if not is_chunk(bytes(frame[:1])):
            yield frame
            return
        self.payload_bytes += unpack_header(bytes(frame)).length
        self._chunks += 1
        if self._due(self.corrupt, 0):
            self.corrupted += 1
            harmed = bytearray(frame)
            harmed[self.chance.randrange(HEADER_BYTES, len(harmed))] ^= 1 << self.chance.randrange(
                8
            )
            yield harmed
            return
        yield frame
        if self._due(self.double, 1):
            self.doubled += 1
            yield frame

    def _due(self, share: float, offset: int) -> bool:
        """Whether it is the turn of one chunk in every 1/share."""
        return share > 0 and (self._chunks + offset) % round(1 / share) == 0


@contextmanager
def faulty_links(faults: Faults) -> Iterator[Faults]:
    """Give every link that connects within the block these faults."""

    class FaultySession(link._Session):
        async def _send_bytes(self, data: bytes | bytearray) -> None:
            for frame in faults.frames(data):
                await super()._send_bytes(frame)

    with mock.patch.object(link, "_Session", FaultySession):
        yield faults
