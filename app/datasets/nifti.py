"""What SimpleITK does not tell of a NIfTI file: whether it is whole, and what is not a number.

Its NIfTI library reads files that are cut off as far as they go and replaces NaN and infinity
by 0 without a word (measured with SimpleITK 2.5.7), so both are looked for in the bytes.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

_NIFTI1_BYTES: Final = 348
_NIFTI2_BYTES: Final = 540
_CHUNK_BYTES: Final = 1 << 20
_HEADER_CHUNK_BYTES: Final = 1 << 11
_FLOATS: Final = {16: "f4", 64: "f8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NiftiLayout:
    """Where the voxels lie in the unpacked file. `floats` is their numpy type if they are floats."""

    offset: int
    bits: int
    floats: np.dtype[np.generic] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NiftiContent:
    """What a file holds: sound unpacked bytes, and voxels that are not numbers.

    `first_not_finite` counts voxels from the first, x fastest.
    """

    sound_bytes: int
    not_finite: int = 0
    first_not_finite: int | None = None


def read_layout(path: Path) -> NiftiLayout | None:
    """Read the header of a .nii or .nii.gz file; None when not even that is whole and sane."""
    start = b""
    try:
        for chunk in _unpacked(path, _HEADER_CHUNK_BYTES):
            start += chunk
            if len(start) >= _NIFTI2_BYTES:
                break
    except zlib.error:
        pass  # what came before counts
    if len(start) < _NIFTI1_BYTES:
        return None
    order = "<" if start[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
    if start[4:8] in (b"n+2\0", b"ni2\0"):
        if len(start) < _NIFTI2_BYTES:
            return None
        kind, bits = struct.unpack_from(order + "hh", start, 12)
        (offset,) = struct.unpack_from(order + "q", start, 168)
    else:
        kind, bits = struct.unpack_from(order + "hh", start, 70)
        (offset,) = struct.unpack_from(order + "f", start, 108)
    if not math.isfinite(offset) or offset < 0:
        return None
    floats = np.dtype(order + _FLOATS[kind]) if kind in _FLOATS else None
    return NiftiLayout(offset=int(offset), bits=int(bits), floats=floats)


def quick_length(path: Path, expected: int) -> int:
    """Return the unpacked length, as far as it can be had without unpacking the whole file.

    The last four bytes of a gzip file are its unpacked length modulo 2^32. Only where they
    disagree with `expected` the file is unpacked: it may have several members, or be cut off.
    """
    if path.name.casefold().endswith(".nii"):
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-4, 2)
        if file.read(4) == struct.pack("<I", expected % (1 << 32)):
            return expected
    return inspect(path, None).sound_bytes


def inspect(path: Path, layout: NiftiLayout | None) -> NiftiContent:
    """Unpack the whole file, with its checksums, and count voxels that are not numbers."""
    position, not_finite, first = 0, 0, None
    rest = b""
    floats = None if layout is None else layout.floats
    voxel = 0
    try:
        for chunk in _unpacked(path, _CHUNK_BYTES):
            before, position = position, position + len(chunk)
            if layout is None or floats is None:
                continue
            rest += chunk[max(0, layout.offset - before) :]
            whole = len(rest) - len(rest) % floats.itemsize
            values = np.frombuffer(rest[:whole], dtype=floats)
            odd = ~np.isfinite(values)
            if odd.any():
                not_finite += int(np.count_nonzero(odd))
                first = voxel + int(np.argmax(odd)) if first is None else first
            voxel += values.size
            rest = rest[whole:]
    except zlib.error:
        # The voxels before the damage cannot be told from it: the checksum comes last.
        position = max(0, position - 1)
    return NiftiContent(sound_bytes=position, not_finite=not_finite, first_not_finite=first)


def _unpacked(path: Path, chunk_bytes: int) -> Iterator[bytes]:
    """Yield the file's bytes, unpacked if need be, as it is read in chunks.

    Raises:
        zlib.error: the packed bytes are damaged or end early.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            while chunk := file.read(chunk_bytes):
                yield chunk
            return
        unpacker = zlib.decompressobj(wbits=31)
        while chunk := file.read(chunk_bytes):
            while chunk:
                if unpacker.eof:
                    if not chunk.strip(b"\0"):  # padding after the last member
                        break
                    unpacker = zlib.decompressobj(wbits=31)  # bgzip writes many members
                yield unpacker.decompress(chunk)
                chunk = unpacker.unused_data
        if not unpacker.eof:
            raise zlib.error("the file ends early")
