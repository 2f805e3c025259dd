from __future__ import annotations

import asyncio
import random
import threading

import pytest
from helpers.loopback import until, write_blob

from app.domain.errors import PeerMistake
from app.system.blob_transfer import FileReceiver, FileSender, TransferStopped
from app.system.clock import SystemClock
from app.system.partial_files import PartialFile
from app.wire.blobs import CHUNK, HEADER_BYTES, unpack_header
from app.wire.messages import Acknowledged, Rejected

UPLOAD = bytes(range(16))


def sender_of(path, blob, send, *, offset: int = 0, stall_s: float = 5) -> FileSender:
    return FileSender(
        path=path, size=blob.size, upload=UPLOAD, offset=offset, send=send,
        clock=SystemClock(), patience_s=15, stall_s=stall_s,
    )  # fmt: skip


class Wire:
    """Carries chunks to a receiver and its answers back, harming some of both."""

    def __init__(
        self,
        receiver: FileReceiver,
        *,
        seed: int,
        corrupt: float = 0,
        double: float = 0,
        lose: float = 0,
    ):
        self.receiver, self.chance = receiver, random.Random(seed)
        self.corrupt, self.double, self.lose = corrupt, double, lose
        self.sender: FileSender | None = None
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, frame: bytearray) -> None:
        for _ in range(2 if self.chance.random() < self.double else 1):
            harmed = bytearray(frame)
            if self.chance.random() < self.corrupt:
                harmed[self.chance.randrange(HEADER_BYTES, len(harmed))] ^= 1
            await self.frames.put(bytes(harmed))

    async def carry(self) -> None:
        while True:
            frame = await self.frames.get()
            answer = await self.receiver.take(unpack_header(frame), frame)
            if answer is None or self.chance.random() < self.lose:
                continue
            if isinstance(answer, Acknowledged):
                self.sender.acknowledged(answer)
            else:
                self.sender.rejected(answer)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("harm", "largest_overhead"),
    [({}, 1.0), ({"corrupt": 0.05, "double": 0.05}, 1.6), ({"lose": 0.1, "corrupt": 0.02}, 1.6)],
)
async def test_a_file_arrives_whatever_the_wire_does(tmp_path, harm, largest_overhead):
    blob = write_blob(tmp_path / "file", 60 * CHUNK + 12345)
    partial = PartialFile(tmp_path / "part")
    wire = Wire(FileReceiver(partial=partial, size=blob.size, upload=UPLOAD), seed=4, **harm)
    wire.sender = sender_of(tmp_path / "file", blob, wire.send, stall_s=0.2)
    carrying = asyncio.create_task(wire.carry())
    await wire.sender.run()
    carrying.cancel()
    await asyncio.wait({carrying})
    assert wire.receiver.complete
    assert wire.sender.sent_bytes <= largest_overhead * blob.size
    assert partial.sha256() == blob.sha256
    partial.commit(tmp_path / "arrived")


@pytest.mark.asyncio
async def test_what_arrives_is_forced_out_as_it_grows(tmp_path, monkeypatch):
    synced: list[int] = []
    real = PartialFile.sync

    def sync(self) -> None:
        synced.append(self.offset)
        real(self)

    monkeypatch.setattr(PartialFile, "sync", sync)
    blob = write_blob(tmp_path / "file", 90 * CHUNK)
    partial = PartialFile(tmp_path / "part")
    wire = Wire(FileReceiver(partial=partial, size=blob.size, upload=UPLOAD), seed=1)
    wire.sender = sender_of(tmp_path / "file", blob, wire.send)
    take = wire.receiver.take

    async def take_and_settle(header, frame):
        # A disk that forces out in no time; on a slow one the next time simply comes later.
        answer = await take(header, frame)
        await wire.receiver.settle()
        return answer

    monkeypatch.setattr(wire.receiver, "take", take_and_settle)
    carrying = asyncio.create_task(wire.carry())
    await wire.sender.run()
    carrying.cancel()
    await asyncio.wait({carrying})
    assert synced == [8 << 20, 16 << 20]
    partial.discard()


@pytest.mark.asyncio
async def test_a_sender_can_be_stopped_and_gives_up_on_silence(tmp_path):
    blob = write_blob(tmp_path / "file", 5 * CHUNK)
    frames: list[bytearray] = []

    async def send(frame: bytearray) -> None:
        frames.append(bytearray(frame))

    sender = sender_of(tmp_path / "file", blob, send)
    running = asyncio.create_task(sender.run())
    await until(lambda: len(frames) == 2)
    sender.stop()
    with pytest.raises(TransferStopped):
        await running
    silent = sender_of(tmp_path / "file", blob, send, stall_s=0.01)
    with pytest.raises(PeerMistake, match="acknowledges nothing any more"):
        await silent.run()


@pytest.mark.asyncio
async def test_nothing_is_sent_of_what_is_there(tmp_path):
    blob = write_blob(tmp_path / "file", 1000)

    async def send(frame: bytearray) -> None:
        raise AssertionError(frame)

    await sender_of(tmp_path / "file", blob, send, offset=1000).run()


@pytest.mark.asyncio
async def test_a_file_that_shrank_is_an_error(tmp_path):
    blob = write_blob(tmp_path / "file", 1000)
    (tmp_path / "file").write_bytes(b"short")

    async def send(frame: bytearray) -> None:
        raise AssertionError(frame)

    with pytest.raises(OSError, match="the file ends before byte 1000"):
        await sender_of(tmp_path / "file", blob, send).run()


@pytest.mark.asyncio
async def test_a_receiver_answers_as_the_rules_say(tmp_path):
    blob = write_blob(tmp_path / "file", 3 * CHUNK)
    frames: list[bytes] = []

    async def send(frame: bytearray) -> None:
        frames.append(bytes(frame))

    running = asyncio.create_task(sender_of(tmp_path / "file", blob, send).run())
    await until(lambda: len(frames) == 2)
    running.cancel()
    await asyncio.wait({running})
    partial = PartialFile(tmp_path / "part")
    receiver = FileReceiver(partial=partial, size=blob.size, upload=UPLOAD)

    async def take(frame: bytes):
        return await receiver.take(unpack_header(frame), frame)

    assert await take(frames[1]) == Rejected(upload=UPLOAD, generation=0, offset=0)
    assert await take(frames[1]) is None
    kept = Acknowledged(upload=UPLOAD, generation=0, offset=CHUNK)
    assert await take(frames[0]) == kept
    assert await take(frames[0]) == kept
    receiver.resume(bytes(16))
    assert receiver.offset == CHUNK
    receiver.restart()
    assert (receiver.offset, partial.offset, receiver.complete) == (0, 0, False)
    partial.discard()


@pytest.mark.asyncio
async def test_a_file_that_opens_after_the_sender_was_cancelled_is_closed(tmp_path, monkeypatch):
    blob = write_blob(tmp_path / "file", CHUNK)
    go_on, asked = threading.Event(), threading.Event()
    opened = []

    async def send(_frame):
        raise AssertionError("nothing is sent any more")

    sender = sender_of(tmp_path / "file", blob, send)
    really = sender._open

    def slow_disk():
        asked.set()
        go_on.wait(10)
        opened.append(really())
        return opened[0]

    monkeypatch.setattr(sender, "_open", slow_disk)
    running = asyncio.create_task(sender.run())
    await until(asked.is_set)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    go_on.set()
    await until(lambda: opened and opened[0].closed)
