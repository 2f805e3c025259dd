from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from app.domain.errors import OurMistake, PeerMistake
from app.wire import codec
from app.wire.blobs import (
    CHUNK,
    HEADER_BYTES,
    LIMITS,
    MAX_FRAME,
    WINDOW_LIMIT,
    WINDOW_START,
    BlobReceiver,
    BlobSender,
    ChunkHeader,
    Verdict,
    checksum,
    is_chunk,
    pack_header,
    payload_intact,
    unpack_header,
)
from app.wire.messages import BlobKind, Left

UPLOAD = bytes(range(16))


def chunk(payload: bytes = b"payload", *, generation: int = 0, offset: int = 0) -> bytes:
    frame = bytearray(HEADER_BYTES) + payload
    header = ChunkHeader(
        upload=UPLOAD,
        generation=generation,
        offset=offset,
        length=len(payload),
        checksum=checksum(payload),
    )
    pack_header(header, frame)
    return bytes(frame)


def test_a_header_comes_back_as_it_was_and_is_no_message():
    frame = chunk(generation=3, offset=1 << 33)
    assert unpack_header(frame) == ChunkHeader(
        upload=UPLOAD,
        generation=3,
        offset=1 << 33,
        length=7,
        checksum=checksum(b"payload"),
    )
    assert payload_intact(unpack_header(frame), frame)
    assert is_chunk(frame)
    assert not is_chunk(codec.encode(Left()))
    assert not is_chunk(b"")
    with pytest.raises(PeerMistake):
        codec.decode(frame)


def test_any_flipped_bit_is_noticed():
    frame = chunk()
    for bit in range(8 * len(frame)):
        harmed = bytearray(frame)
        harmed[bit // 8] ^= 1 << bit % 8
        try:
            header = unpack_header(bytes(harmed))
        except PeerMistake:
            continue
        assert not payload_intact(header, bytes(harmed)), bit


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (b"", "a chunk of 0 bytes has no header"),
        (chunk()[: HEADER_BYTES - 1], f"a chunk of {HEADER_BYTES - 1} bytes has no header"),
        (chunk()[:-1], f"a chunk of {HEADER_BYTES + 6} bytes says that it holds 7"),
        (chunk(b""), f"a chunk of {HEADER_BYTES} bytes says that it holds 0"),
        (
            chunk(bytes(CHUNK + 1)),
            f"a chunk of {MAX_FRAME + 1} bytes says that it holds {CHUNK + 1}",
        ),
        (chunk(generation=1_000_001), "a chunk is of generation 1000001"),
    ],
)
def test_a_hostile_header_is_refused_with_a_sentence(frame, sentence):
    with pytest.raises(PeerMistake) as caught:
        unpack_header(frame)
    assert str(caught.value) == sentence


def test_every_kind_has_a_limit():
    assert LIMITS.keys() == set(BlobKind)


# --- sender ----------------------------------------------------------------------------------------


def sender(size: int = 100 * CHUNK, offset: int = 0, patience_s: float = 15) -> BlobSender:
    return BlobSender(size=size, offset=offset, patience_s=patience_s)


def send_all(blob: BlobSender, now: float) -> list[int]:
    offsets = []
    while (piece := blob.next_piece(now)) is not None:
        offsets.append(piece.offset)
    return offsets


def largest_window(*, latency_s: float, bytes_per_s: float) -> tuple[int, float]:
    """Send 100 chunks over a line; return the widest window and the share of its rate that was used."""
    blob = sender()
    now, free_at, largest = 0.0, 0.0, WINDOW_START
    arriving: list[tuple[float, int]] = []
    while not blob.finished:
        while (piece := blob.next_piece(now)) is not None:
            free_at = max(now, free_at) + piece.length / bytes_per_s
            arriving.append((free_at + latency_s, piece.offset + piece.length))
        largest = max(largest, len(arriving))
        now, end = arriving.pop(0)
        blob.acknowledged(offset=end, now=now)
    return largest, blob.size / bytes_per_s / now


def test_the_window_is_as_wide_as_the_line_needs_and_no_wider():
    assert send_all(sender(), 0.0) == [0, CHUNK]
    near, used = largest_window(latency_s=0.001, bytes_per_s=12e6)
    assert near <= 3
    assert used > 0.95
    far, used = largest_window(latency_s=0.1, bytes_per_s=20e6)
    assert 3 < far <= WINDOW_LIMIT
    assert used > 0.7, "its start included"
    fast, _ = largest_window(latency_s=0.0001, bytes_per_s=400e6)
    assert fast == 8, "it outlasts a pause of either end"
    farthest, _ = largest_window(latency_s=0.6, bytes_per_s=100e6)
    assert farthest == WINDOW_LIMIT


def test_a_slow_link_never_has_more_in_flight_than_its_heartbeats_bear():
    # 50 kB/s and 15 s: 750 kB, so two chunks of 256 KiB; they leave one after the other.
    blob = sender()
    now, line_free_at, in_flight = 0.0, 0.0, []
    for _ in range(60):
        while (piece := blob.next_piece(now)) is not None:
            line_free_at = max(now, line_free_at) + piece.length / 50_000
            in_flight.append((piece.offset + piece.length, line_free_at))
        assert len(in_flight) <= 3
        end, now = in_flight.pop(0)
        blob.acknowledged(offset=end, now=now)
    assert blob.window == 2


def test_a_rejection_rewinds_once_and_old_ones_are_ignored():
    blob = sender()
    send_all(blob, 0.0)
    assert blob.rejected(generation=0, offset=0)
    assert not blob.rejected(generation=0, offset=0), "of the chunk behind the damaged one"
    piece = blob.next_piece(0.1)
    assert (piece.generation, piece.offset) == (1, 0)


def test_a_stall_sends_again_what_was_not_acknowledged():
    blob = sender()
    send_all(blob, 0.0)
    blob.acknowledged(offset=CHUNK, now=0.1)
    blob.stalled()
    piece = blob.next_piece(1.0)
    assert (piece.generation, piece.offset) == (1, CHUNK)


def test_a_receiver_that_contradicts_itself_is_refused():
    blob = sender(size=10)
    for wrong in (
        lambda: blob.acknowledged(offset=11, now=0),
        lambda: blob.rejected(generation=0, offset=11),
    ):
        with pytest.raises(PeerMistake):
            wrong()
    with pytest.raises(PeerMistake):
        sender(size=10, offset=11)


# --- receiver --------------------------------------------------------------------------------------


def header(offset: int, length: int = 10, generation: int = 0) -> ChunkHeader:
    return ChunkHeader(
        upload=UPLOAD, generation=generation, offset=offset, length=length, checksum=0
    )


def test_a_receiver_keeps_what_is_next_and_rejects_once_per_generation():
    blob = BlobReceiver(size=100, offset=20)
    assert blob.judge(header(20), intact=True) is Verdict.KEEP
    blob.kept(10)
    assert blob.judge(header(20), intact=True) is Verdict.REPEATED
    assert blob.judge(header(30), intact=False) is Verdict.REJECT
    assert blob.judge(header(40), intact=True) is Verdict.IGNORE
    assert blob.judge(header(30), intact=True) is Verdict.KEEP, (
        "the same generation may still bring it"
    )
    assert blob.judge(header(40, generation=1), intact=True) is Verdict.REJECT
    assert blob.judge(header(25, generation=2), intact=True) is Verdict.REJECT, "not on our offset"
    with pytest.raises(PeerMistake):
        blob.judge(header(95), intact=True)
    blob.resume()
    assert blob.judge(header(50), intact=True) is Verdict.REJECT, "a new sender counts from zero"
    with pytest.raises(OurMistake):
        blob.kept(71)
    with pytest.raises(OurMistake):
        BlobReceiver(size=10, offset=11)


@given(
    seed=st.integers(0, 1 << 32),
    chunks=st.integers(1, 60),
    corrupt=st.floats(0, 0.3),
    double=st.floats(0, 0.3),
    lose_answer=st.floats(0, 0.3),
)
def test_any_mix_of_harm_ends_with_every_byte_in_place(seed, chunks, corrupt, double, lose_answer):
    chance = random.Random(seed)
    size = chunks * CHUNK - chance.randrange(CHUNK)
    out, into, now = sender(size=size), BlobReceiver(size=size, offset=0), 0.0
    wire: list[tuple[ChunkHeader, bool]] = []
    kept: list[tuple[int, int]] = []
    idle = 0
    while not out.finished:
        now += 0.01
        piece = out.next_piece(now)
        if piece is not None:
            sent = header(piece.offset, piece.length, piece.generation)
            copies = 2 if chance.random() < double else 1
            wire.extend((sent, chance.random() >= corrupt) for _ in range(copies))
            if chance.random() < 0.7:
                continue
        if not wire:
            idle += 1
            if idle > 3:
                out.stalled()
                idle = 0
            continue
        arrived, intact = wire.pop(0)
        verdict = into.judge(arrived, intact=intact)
        if verdict is Verdict.KEEP:
            kept.append((arrived.offset, arrived.length))
            into.kept(arrived.length)
        if chance.random() < lose_answer or verdict is Verdict.IGNORE:
            continue
        if verdict is Verdict.REJECT:
            out.rejected(generation=arrived.generation, offset=into.offset)
        else:
            out.acknowledged(offset=into.offset, now=now)
    assert into.complete
    assert [offset for offset, _ in kept] == [sum(n for _, n in kept[:i]) for i in range(len(kept))]
    assert sum(length for _, length in kept) == size


def test_one_per_cent_of_damage_costs_less_than_ten_per_cent():
    overhead = []
    for seed in range(20):
        chance = random.Random(seed)
        size = 400 * CHUNK
        out, into, now = sender(size=size), BlobReceiver(size=size, offset=0), 0.0
        wire: list[tuple[ChunkHeader, bool]] = []
        while not out.finished:
            now += 0.001
            while (piece := out.next_piece(now)) is not None:
                wire.append(
                    (header(piece.offset, piece.length, piece.generation), chance.random() >= 0.01)
                )
            arrived, intact = wire.pop(0)
            verdict = into.judge(arrived, intact=intact)
            if verdict is Verdict.KEEP:
                into.kept(arrived.length)
                out.acknowledged(offset=into.offset, now=now)
            elif verdict is Verdict.REJECT:
                out.rejected(generation=arrived.generation, offset=into.offset)
        overhead.append(out.sent_bytes / size)
    assert sum(overhead) / len(overhead) < 1.1
