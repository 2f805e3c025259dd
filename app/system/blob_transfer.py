"""Files on their way through an open session, chunk by chunk.

The rules (window, generation, who owns the offset) are in `app.wire.blobs`; here they meet the
disk. Both ends use both classes: a site sends updates and fetches models, the coordinator the
other way round. Nothing here is cancelled half-way: a session that ends calls `stop`.

A chunk is read, checked or written on the event loop: that takes about 0.1 ms, while a hop to a
thread and back was measured at 0.5 ms, half of the whole transfer. Forcing bytes out to the disk,
which may take as long as it likes, is done in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from io import BufferedReader
from pathlib import Path
from typing import Final

from app.domain.errors import PeerMistake
from app.system.clock import Clock
from app.system.partial_files import PartialFile
from app.wire.blobs import (
    CHUNK,
    HEADER_BYTES,
    BlobReceiver,
    BlobSender,
    ChunkHeader,
    Piece,
    Verdict,
    checksum,
    pack_header,
    payload_intact,
)
from app.wire.messages import Acknowledged, Rejected

STALL_S: Final = 120.0
"""Time without an acknowledgement after which what is in flight is sent again: a message of the
other end was lost. A dead connection is noticed earlier, by its heartbeats."""
_MAX_STALLS: Final = 3


class TransferStopped(Exception):
    """Raised in `FileSender.run` when its session ended first."""


class FileSender:
    """Sends one file from an offset, within one session."""

    def __init__(
        self,
        *,
        path: Path,
        size: int,
        upload: bytes,
        offset: int,
        send: Callable[[bytearray], Awaitable[None]],
        clock: Clock,
        patience_s: float,
        stall_s: float = STALL_S,
    ) -> None:
        """Prepare to send; `send` must have copied a frame when it returns (websockets does)."""
        self.upload = upload
        self._path = path
        self._send = send
        self._clock = clock
        self._stall_s = stall_s
        self._sender = BlobSender(size=size, offset=offset, patience_s=patience_s)
        self._frame = bytearray()
        self._news = asyncio.Event()
        self._stopped = False

    @property
    def sent_bytes(self) -> int:
        """Payload bytes handed to the session, repeated ones counted again."""
        return self._sender.sent_bytes

    async def run(self) -> None:
        """Send until the other end has acknowledged everything.

        Raises:
            TransferStopped: `stop` was called.
            PeerMistake: the other end contradicts itself or acknowledges nothing any more.
            OSError: the file cannot be read, or is shorter than it was.
        """
        if self._sender.finished:
            return
        opening = asyncio.create_task(asyncio.to_thread(self._open))
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread opens it all the same, and nobody else would close it.
            opening.add_done_callback(_close_opened)
            raise
        try:
            await self._pump(file)
        finally:
            file.close()

    def acknowledged(self, message: Acknowledged) -> int:
        """Take an acknowledgement; return how many bytes are newly known to be kept."""
        before = self._sender.acknowledged_offset
        if not self._sender.acknowledged(offset=message.offset, now=self._clock.monotonic()):
            return 0
        self._news.set()
        return message.offset - before

    def rejected(self, message: Rejected) -> None:
        """Take a rejection; an old one is ignored."""
        if self._sender.rejected(generation=message.generation, offset=message.offset):
            self._news.set()

    def stop(self) -> None:
        """Make `run` raise TransferStopped soon."""
        self._stopped = True
        self._news.set()

    async def _pump(self, file: BufferedReader) -> None:
        stalls = 0
        known = self._sender.acknowledged_offset
        while not self._sender.finished:
            if self._stopped:
                raise TransferStopped
            piece = self._sender.next_piece(self._clock.monotonic())
            if piece is not None:
                await self._send(self._load(file, piece))
                continue
            self._news.clear()
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._news.wait()
            except TimeoutError:
                stalls = stalls + 1 if self._sender.acknowledged_offset == known else 0
                known = self._sender.acknowledged_offset
                if stalls >= _MAX_STALLS:
                    raise PeerMistake("the other end acknowledges nothing any more") from None
                self._sender.stalled()

    def _open(self) -> BufferedReader:
        return self._path.open("rb")

    def _load(self, file: BufferedReader, piece: Piece) -> bytearray:
        """Read one piece and make its chunk, in a buffer that is used again for the next."""
        if len(self._frame) != HEADER_BYTES + piece.length:
            self._frame = bytearray(HEADER_BYTES + piece.length)
        frame = self._frame
        file.seek(piece.offset)
        with memoryview(frame) as view:
            payload = view[HEADER_BYTES:]
            if file.readinto(payload) != piece.length:
                raise OSError(f"the file ends before byte {piece.offset + piece.length}")
            payload_checksum = checksum(payload)
            payload.release()
        pack_header(
            ChunkHeader(
                upload=self.upload,
                generation=piece.generation,
                offset=piece.offset,
                length=piece.length,
                checksum=payload_checksum,
            ),
            frame,
        )
        return frame


def _close_opened(opening: asyncio.Task[BufferedReader]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class FileReceiver:
    """Takes one file's chunks into a `PartialFile`, one call at a time."""

    def __init__(self, *, partial: PartialFile, size: int, upload: bytes) -> None:
        self.upload = upload
        self.partial = partial
        self._syncing: asyncio.Task[None] | None = None
        self._receiver = BlobReceiver(size=size, offset=min(partial.offset, size))

    @property
    def offset(self) -> int:
        """Where the other end should go on."""
        return self._receiver.offset

    @property
    def complete(self) -> bool:
        """Whether every byte is there (not yet whether they are the right ones)."""
        return self._receiver.complete

    async def take(self, header: ChunkHeader, frame: bytes) -> Acknowledged | Rejected | None:
        """Keep a chunk if it is the next one and intact; return what to answer.

        Raises:
            PeerMistake: the chunk goes beyond the end of the file.
            OSError: the disk does not take it.
        """
        verdict = self._keep(header, frame)
        if self.partial.sync_due and (self._syncing is None or self._syncing.done()):
            await self.settle()
            self._syncing = asyncio.create_task(asyncio.to_thread(self.partial.sync))
        match verdict:
            case Verdict.KEEP | Verdict.REPEATED:
                return Acknowledged(
                    upload=self.upload, generation=header.generation, offset=self.offset
                )
            case Verdict.REJECT:
                return Rejected(
                    upload=self.upload, generation=header.generation, offset=self.offset
                )
            case Verdict.IGNORE:
                return None

    async def settle(self) -> None:
        """Wait until bytes that are being forced out are; call it before the last use.

        Raises:
            OSError: the disk did not take them.
        """
        if self._syncing is not None:
            syncing, self._syncing = self._syncing, None
            await syncing

    def resume(self, upload: bytes) -> None:
        """Expect a new sender from the offset on; it counts its generations from zero."""
        self.upload = upload
        self._receiver.resume()

    def restart(self) -> None:
        """Begin again at zero: the whole did not have its digest."""
        self.partial.restart()
        self._receiver.restart()

    def _keep(self, header: ChunkHeader, frame: bytes) -> Verdict:
        verdict = self._receiver.judge(header, intact=payload_intact(header, frame))
        if verdict is Verdict.KEEP:
            with memoryview(frame) as view:
                self.partial.append(view[HEADER_BYTES:], header.checksum)
            self._receiver.kept(header.length)
        return verdict


assert HEADER_BYTES + CHUNK < 270_336  # noqa: S101 - the frame limit of both ends
