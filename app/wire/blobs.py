"""Bulk bytes in chunks that resume: chunk header, size limits, the sending and the receiving side.

Sans-I/O: both sides take bytes, offsets and `now`, and say what to do next. The receiver owns the
offset. A chunk that is damaged or leaves a gap is rejected once per *generation*; the sender
rewinds once, counts the generation up and ignores rejections of older ones. Without it, every
chunk in flight behind a damaged one would rewind the sender again (5.6 to 16 times the bytes were
sent again when this was measured; see security.md 2.7 of the field notes).
"""

from __future__ import annotations

import enum
import math
import struct
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from app.domain.errors import OurMistake, PeerMistake
from app.wire.messages import BlobKind

CHUNK: Final = 256 * 1024
"""Payload bytes of one chunk. 256 KiB is the measured optimum of speed and memory."""

LIMITS: Final[Mapping[BlobKind, int]] = MappingProxyType(
    {
        BlobKind.FINGERPRINT: 16 << 20,
        BlobKind.PLAN: 4 << 20,
        BlobKind.MERGED: 16 << 20,
        BlobKind.WEIGHTS: 4 << 30,
    }
)
"""Bytes of the largest blob of each kind; a study may set lower ones."""

# 0xC1 is the one byte that msgpack never uses, so a chunk cannot be mistaken for a message.
CHUNK_MARK: Final = 0xC1
_HEADER: Final = struct.Struct(">B16sIQII")
_SEAL: Final = struct.Struct(">I")
HEADER_BYTES: Final = _HEADER.size + _SEAL.size
MAX_FRAME: Final = CHUNK + HEADER_BYTES

WINDOW_START: Final = 2
"""Chunks in flight at first, and on a line that needs no more to be busy. What is in flight when a
line or a coordinator breaks is sent again."""
WINDOW_LIMIT: Final = 16
"""Chunks in flight at most, on lines that are fast or far."""
_SLACK_S: Final = 0.05
_SLACK_CHUNKS: Final = 8
"""How long either end may be kept from its core by other work before a line falls idle: the window
of a fast line holds so many seconds' worth, up to so many chunks. Two in flight cost half of an
upload's speed on a busy machine (tests/benchmarks/transfer.py); more than eight would be sent again
for each damaged one, beyond a tenth of all bytes when one in a hundred is damaged."""
_MAX_GENERATION: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkHeader:
    """What precedes a chunk's bytes. `checksum` is that of the payload.

    It finds damage between the ends of TLS, which itself lets none through; that the whole is what
    its name says is checked by SHA-256 in the end. CRC-32 is 2.4 times as fast.
    """

    upload: bytes
    generation: int
    offset: int
    length: int
    checksum: int


def checksum(payload: bytes | bytearray | memoryview) -> int:
    """Return the checksum of a chunk's payload."""
    return zlib.crc32(payload)


def pack_header(header: ChunkHeader, target: bytearray) -> None:
    """Write `header` into the first `HEADER_BYTES` of `target`."""
    _HEADER.pack_into(
        target,
        0,
        CHUNK_MARK,
        header.upload,
        header.generation,
        header.offset,
        header.length,
        header.checksum,
    )
    with memoryview(target) as view:
        seal = zlib.crc32(view[: _HEADER.size])
    _SEAL.pack_into(target, _HEADER.size, seal)


def is_chunk(frame: bytes) -> bool:
    """Whether a received frame is a chunk rather than a message."""
    return frame[:1] == bytes((CHUNK_MARK,))


def unpack_header(frame: bytes) -> ChunkHeader:
    """Return the header of a received chunk; its payload starts at `HEADER_BYTES`.

    Raises:
        PeerMistake: the header is cut off, damaged, or its length is not that of the frame.
    """
    if len(frame) < HEADER_BYTES or not is_chunk(frame):
        raise PeerMistake(f"a chunk of {len(frame)} bytes has no header")
    _mark, upload, generation, offset, length, given = _HEADER.unpack_from(frame)
    (seal,) = _SEAL.unpack_from(frame, _HEADER.size)
    with memoryview(frame) as view:
        if zlib.crc32(view[: _HEADER.size]) != seal:
            raise PeerMistake("the header of a chunk is damaged")
    if not 0 < length <= CHUNK or len(frame) != HEADER_BYTES + length:
        raise PeerMistake(f"a chunk of {len(frame)} bytes says that it holds {length}")
    if generation > _MAX_GENERATION:
        raise PeerMistake(f"a chunk is of generation {generation}")
    return ChunkHeader(
        upload=upload, generation=generation, offset=offset, length=length, checksum=given
    )


def payload_intact(header: ChunkHeader, frame: bytes) -> bool:
    """Whether the payload behind the header is what the header says. 0.06 ms a chunk."""
    with memoryview(frame) as view:
        return checksum(view[HEADER_BYTES:]) == header.checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The next bytes to send: `length` of them from `offset`, in a chunk of `generation`."""

    generation: int
    offset: int
    length: int


class BlobSender:
    """The sending side of one blob within one session.

    Order of calls: `next_piece` until it gives None, then wait for `acknowledged` or `rejected`,
    and again, until `finished`. The window starts at 2 chunks and grows by one with each
    acknowledgement while twice the product of rate and latency asks for it, up to 16, or a fast line
    should outlast a pause of either end, up to 8; but what is
    in flight never takes longer than `patience_s` at the measured rate: a slow line must not fill
    buffers for longer than a heartbeat may take.
    """

    def __init__(self, *, size: int, offset: int, patience_s: float, chunk: int = CHUNK) -> None:
        if not 0 <= offset <= size:
            raise PeerMistake(f"the receiver wants to go on at {offset} of {size} bytes")
        self.size = size
        self.generation = 0
        self.acknowledged_offset = offset
        self.sent_bytes = 0
        self._next = offset
        self._chunk = chunk
        self._window = WINDOW_START
        self._patience_s = patience_s
        self._in_flight: deque[tuple[int, float]] = deque()  # (end offset, when sent)
        self._pace = 0.0  # seconds per byte
        self._latency_s = math.inf
        self._heard_at = 0.0

    @property
    def finished(self) -> bool:
        """Whether the receiver has everything."""
        return self.acknowledged_offset == self.size

    @property
    def window(self) -> int:
        """Chunks that may be in flight now."""
        return self._window

    def next_piece(self, now: float) -> Piece | None:
        """Return what to send now and count it as sent; None while the window is full."""
        if self._next >= self.size or len(self._in_flight) >= self._window:
            return None
        length = min(self._chunk, self.size - self._next)
        piece = Piece(generation=self.generation, offset=self._next, length=length)
        self._next += length
        self.sent_bytes += length
        self._in_flight.append((self._next, now))
        return piece

    def acknowledged(self, *, offset: int, now: float) -> bool:
        """Take an acknowledgement of everything below `offset`; return whether it is news.

        Raises:
            PeerMistake: the receiver acknowledges what was never sent.
        """
        if offset > self.size:
            raise PeerMistake(f"the receiver acknowledges {offset} of {self.size} bytes")
        if offset <= self.acknowledged_offset:
            return False
        gained = offset - self.acknowledged_offset
        self.acknowledged_offset = offset
        # After a rewind the receiver may be ahead of us: it kept chunks of the old generation.
        self._next = max(self._next, offset)
        sent_at = now
        while self._in_flight and self._in_flight[0][0] <= offset:
            sent_at = self._in_flight.popleft()[1]
            self._latency_s = min(self._latency_s, now - sent_at)
        # How long a busy line takes per byte. Times are averaged, not rates: acknowledgements come
        # in bursts, and the mean of rates would be that of the bursts.
        pace = (now - max(sent_at, self._heard_at)) / gained
        self._heard_at = now
        self._pace = pace if self._pace == 0 else 0.7 * self._pace + 0.3 * pace
        self._adapt()
        return True

    def rejected(self, *, generation: int, offset: int) -> bool:
        """Rewind to `offset` unless the rejection is of an older generation; return whether so.

        Raises:
            PeerMistake: the offset lies outside the blob.
        """
        if generation != self.generation:
            return False
        self._rewind(offset)
        return True

    def stalled(self) -> None:
        """Send again what was not acknowledged: nothing was heard for too long."""
        self._rewind(self.acknowledged_offset)

    def _rewind(self, offset: int) -> None:
        if not 0 <= offset <= self.size:
            raise PeerMistake(f"the receiver wants to go on at {offset} of {self.size} bytes")
        if self.generation >= _MAX_GENERATION:
            raise PeerMistake("the receiver has rejected a million times")
        self.generation += 1
        self.acknowledged_offset = offset
        self._next = offset
        self._in_flight.clear()
        self._window = max(WINDOW_START, self._window // 2)

    def _adapt(self) -> None:
        if self._pace <= 0:
            self._window = min(self._window + 1, 2 * WINDOW_START)
            return
        chunk_s = self._pace * self._chunk
        slack = min(_SLACK_CHUNKS, math.ceil(_SLACK_S / chunk_s))
        useful = max(WINDOW_START, math.ceil(2 * self._latency_s / chunk_s), slack)
        bearable = int(self._patience_s / chunk_s)
        self._window = max(1, min(self._window + 1, useful, bearable, WINDOW_LIMIT))


class Verdict(enum.Enum):
    """What a receiver does with a chunk."""

    KEEP = "keep"
    REPEATED = "repeated"
    REJECT = "reject"
    IGNORE = "ignore"


class BlobReceiver:
    """The receiving side of one blob: it owns the offset.

    `judge` says what to do with a chunk and changes nothing but which generation was rejected;
    `kept` moves the offset, after the bytes are written.
    """

    def __init__(self, *, size: int, offset: int) -> None:
        if not 0 <= offset <= size:
            raise OurMistake(f"a blob of {size} bytes cannot go on at {offset}")
        self.size = size
        self.offset = offset
        self._rejected_generation = -1

    @property
    def complete(self) -> bool:
        """Whether every byte is kept."""
        return self.offset == self.size

    def judge(self, header: ChunkHeader, *, intact: bool) -> Verdict:
        """Say what to do with a chunk: keep it, acknowledge it again, reject it, or say nothing.

        Raises:
            PeerMistake: it would go beyond the end of the blob.
        """
        end = header.offset + header.length
        if end > self.size:
            raise PeerMistake(f"a chunk ends at byte {end} of a blob of {self.size} bytes")
        if end <= self.offset:
            return Verdict.REPEATED
        if intact and header.offset == self.offset:
            return Verdict.KEEP
        if header.generation <= self._rejected_generation:
            return Verdict.IGNORE
        self._rejected_generation = header.generation
        return Verdict.REJECT

    def kept(self, length: int) -> None:
        """Count `length` bytes at the offset as kept."""
        if length < 0 or self.offset + length > self.size:
            raise OurMistake(f"{length} bytes at {self.offset} do not fit {self.size}")
        self.offset += length

    def resume(self) -> None:
        """Expect a new sender, which counts its generations from zero."""
        self._rejected_generation = -1

    def restart(self) -> None:
        """Begin again at zero: the whole did not have the digest it should have."""
        self.offset = 0
        self.resume()
