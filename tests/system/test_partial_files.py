from __future__ import annotations

import hashlib
import os
import random
import sys

import pytest
from hypothesis import given, strategies as st

from app.system import partial_files
from app.system.partial_files import PartialFile, file_sha256
from app.wire.blobs import checksum

CHUNKS = [random.Random(n).randbytes(size) for n, size in enumerate((1000, 7, 4096, 500))]
WHOLE = b"".join(CHUNKS)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def append_all(partial: PartialFile, chunks=CHUNKS) -> None:
    for chunk in chunks:
        partial.append(chunk, checksum(chunk))


def test_chunks_become_a_file(tmp_path):
    partial = PartialFile(tmp_path / "x.part")
    append_all(partial)
    assert partial.offset == len(WHOLE)
    assert partial.sha256() == file_sha256(tmp_path / "x.part") == hashlib.sha256(WHOLE).hexdigest()
    partial.commit(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == WHOLE
    assert names(tmp_path) == ["x"]


def test_a_killed_process_loses_no_whole_chunk(tmp_path):
    partial = PartialFile(tmp_path / "x.part")
    append_all(partial, CHUNKS[:3])
    # Neither synced nor closed: what a killed process leaves.
    again = PartialFile(tmp_path / "x.part")
    assert again.offset == sum(map(len, CHUNKS[:3]))
    append_all(again, CHUNKS[3:])
    again.commit(tmp_path / "x")
    partial.close()
    assert (tmp_path / "x").read_bytes() == WHOLE


@given(
    cut_file=st.integers(0, len(WHOLE)),
    cut_journal=st.integers(0, 16 * len(CHUNKS)),
    flip=st.none() | st.integers(0, len(WHOLE) - 1),
    grow=st.integers(0, 50),
)
def test_whatever_a_crash_leaves_only_intact_chunks_count(
    tmp_path_factory, cut_file, cut_journal, flip, grow
):
    path = tmp_path_factory.mktemp("crash") / "x.part"
    partial = PartialFile(path)
    append_all(partial)
    partial.close()
    os.truncate(path, cut_file)
    os.truncate(path.with_name("x.part.journal"), cut_journal)
    data = bytearray(path.read_bytes() + bytes(grow))
    if flip is not None and flip < len(data):
        data[flip] ^= 0x40
    path.write_bytes(data)
    again = PartialFile(path)
    assert path.read_bytes() == WHOLE[: again.offset]
    intact = min(cut_file if flip is None else min(cut_file, flip), len(WHOLE))
    ends = [sum(map(len, CHUNKS[:n])) for n in range(len(CHUNKS) + 1)]
    lost_by_journal = ends[cut_journal // 16]
    expected = max(end for end in ends if end <= min(intact, lost_by_journal))
    # Zeros that a crash put after the end may by chance be what belonged there; never fewer.
    assert again.offset >= expected
    append_rest = WHOLE[again.offset :]
    if append_rest:
        again.append(append_rest, checksum(append_rest))
    again.commit(path.with_name("x"))
    assert path.with_name("x").read_bytes() == WHOLE


def test_after_close_nothing_is_written(tmp_path):
    partial = PartialFile(tmp_path / "x.part")
    partial.close()
    partial.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        append_all(partial)
    assert (tmp_path / "x.part").read_bytes() == b""


def test_discard_and_restart_leave_nothing(tmp_path):
    partial = PartialFile(tmp_path / "x.part")
    append_all(partial)
    partial.restart()
    assert (partial.offset, (tmp_path / "x.part").read_bytes()) == (0, b"")
    append_all(partial)
    partial.discard()
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux calls")
def test_bytes_are_forced_out_before_the_name_appears(tmp_path, monkeypatch):
    # Row 2 of the fault table: write < fdatasync < rename < fsync of the folder.
    order: list[str] = []
    for name in ("pwrite", "fdatasync", "fsync", "replace"):
        real = getattr(os, name)

        def recording(*arguments, _name=name, _real=real, **options):
            order.append(_name)
            return _real(*arguments, **options)

        monkeypatch.setattr(partial_files.os, name, recording)
    monkeypatch.setattr(
        type(tmp_path),
        "replace",
        lambda self, target: (order.append("rename"), self.rename(target))[1],
    )
    partial = PartialFile(tmp_path / "x.part")
    append_all(partial, CHUNKS[:1])
    partial.commit(tmp_path / "x")
    assert order == ["pwrite", "pwrite", "fdatasync", "rename", "fsync"]


def test_bytes_should_be_forced_out_every_8_mib(tmp_path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(partial_files, "force_data", synced.append)
    partial = PartialFile(tmp_path / "x.part")
    chunk = bytes(1 << 18)
    for _ in range(31):
        partial.append(chunk, checksum(chunk))
    assert not partial.sync_due
    partial.append(chunk, checksum(chunk))
    assert partial.sync_due
    partial.sync()
    assert len(synced) == 2, "the file and its journal"
    assert not partial.sync_due
    partial.discard()
