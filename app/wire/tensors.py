"""Checking a safetensors file before anything loads it.

The format cannot run code, but a reader of it may be kept busy or misled: measured on safetensors
0.6, a header of 90 MB, a million empty tensors (30 s of CPU), names given twice and NaN all pass.
So the header is read here, by rules that know what must be in it: exactly the tensors of the
study's plan. Sources: github.com/huggingface/safetensors (format), security.md 2.6 (figures).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from app.domain.errors import ErrorCode, PeerMistake, safe_text
from app.domain.rounds import TensorSpec

MAX_HEADER: Final = 1 << 20
"""Bytes of the largest header; that of nnU-Net's largest networks has about 40 KiB."""
LENGTH_BYTES: Final = 8
LARGEST_VALUE: Final = 1e4
"""No weight of a network that still learns anything is larger."""

_DTYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        "F32": np.dtype("<f4"),
        "F16": np.dtype("<f2"),
        "I8": np.dtype("i1"),
        "U32": np.dtype("<u4"),
        "I64": np.dtype("<i8"),
    }
)
_HALF_BYTES: Final = 2
_WITHOUT_SIGN: Final = np.uint16(0x7FFF)
_METADATA: Final = "__metadata__"
_MAX_METADATA: Final = 4096
_BLOCK: Final = 1 << 20

Read = Callable[[int, int], bytes]
"""Gives up to `size` bytes from `offset` of a file: ``read(offset, size)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """One tensor of a file; its bytes are `begin` to `end`, counted from the end of the header."""

    spec: TensorSpec
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header of a file: its tensors in the order of their bytes, and where bytes begin."""

    tensors: tuple[TensorEntry, ...]
    data_start: int

    @property
    def file_size(self) -> int:
        """How many bytes the file must have."""
        return self.data_start + (self.tensors[-1].end if self.tensors else 0)


def check_tensor_file(
    read: Read, *, size: int, manifest: Sequence[TensorSpec], largest: float = LARGEST_VALUE
) -> Header:
    """Check a whole file: header exactly the manifest, every value finite and at most `largest`.

    Needs 1 MiB of memory, whatever the file holds.

    Raises:
        PeerMistake: TENSORS_REFUSED, with what is wrong and in which tensor.
    """
    header = read_header(read, size=size, manifest=manifest)
    for entry in header.tensors:
        _check_values(read, header.data_start, entry, largest)
    return header


def read_header(read: Read, *, size: int, manifest: Sequence[TensorSpec]) -> Header:
    """Read and check a file's header; its values are not looked at.

    Raises:
        PeerMistake: TENSORS_REFUSED.
    """
    length = header_length(read(0, LENGTH_BYTES))
    # Names and numbers of the manifest take this much; more is padding or mischief.
    expected = sum(6 * len(spec.name) + 24 * len(spec.shape) + 160 for spec in manifest)
    if length > min(MAX_HEADER, expected + _MAX_METADATA):
        raise _refused(f"a header of {length} bytes is too large for {len(manifest)} tensors")
    header = parse_header(read(LENGTH_BYTES, length), length=length)
    check_header(header, manifest, size)
    return header


def header_length(first: bytes) -> int:
    """Return the header's length from the file's first 8 bytes; PeerMistake when it is absurd."""
    if len(first) != LENGTH_BYTES:
        raise _refused("the file ends before its header")
    (length,) = struct.unpack("<Q", first)
    if not 2 <= length <= MAX_HEADER:
        raise _refused(f"a header of {length} bytes is not between 2 and {MAX_HEADER}")
    return int(length)


def parse_header(data: bytes, *, length: int) -> Header:
    """Return the header in `data`; its tensors must follow each other without gap or overlap.

    Raises:
        PeerMistake: TENSORS_REFUSED: not a header, a name twice, unknown dtype, wrong offsets.
    """
    if len(data) != length:
        raise _refused("the file ends within its header")
    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as exc:
        raise _refused(f"the header cannot be read: {safe_text(str(exc), 120)}") from exc
    if not isinstance(document, dict):
        raise _refused("the header is not a table of tensors")
    _check_metadata(document.pop(_METADATA, {}))
    entries = sorted(
        (_entry(name, value) for name, value in document.items()),
        key=lambda entry: (entry.begin, entry.end),
    )
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise _refused(
                f"{_quoted(entry.spec.name)} begins at byte {entry.begin}, not at {position}"
            )
        position = entry.end
    return Header(tensors=tuple(entries), data_start=LENGTH_BYTES + length)


def check_header(header: Header, manifest: Sequence[TensorSpec], file_size: int) -> None:
    """Check that a header names exactly the tensors of `manifest` and fills the file.

    Raises:
        PeerMistake: TENSORS_REFUSED, naming the first tensor that is missing, extra or different.
    """
    expected = {spec.name: spec for spec in manifest}
    for entry in header.tensors:
        wanted = expected.pop(entry.spec.name, None)
        if wanted is None:
            raise _refused(f"{_quoted(entry.spec.name)} is not a tensor of this network")
        if entry.spec.shape != wanted.shape:
            raise _refused(
                f"{_quoted(wanted.name)} has the shape {list(entry.spec.shape)[:8]},"
                f" not {list(wanted.shape)}"
            )
        if entry.spec.dtype != wanted.dtype:
            raise _refused(f"{_quoted(wanted.name)} is {entry.spec.dtype}, not {wanted.dtype}")
    if expected:
        raise _refused(f"{_quoted(next(iter(expected)))} is missing")
    if header.file_size != file_size:
        raise _refused(f"the file has {file_size} bytes, its header describes {header.file_size}")


def _check_values(read: Read, data_start: int, entry: TensorEntry, largest: float) -> None:
    dtype = _DTYPES[entry.spec.dtype]
    for begin in range(entry.begin, entry.end, _BLOCK):
        count = min(_BLOCK, entry.end - begin)
        data = read(data_start + begin, count)
        if len(data) != count:
            raise _refused(f"the file ends within {_quoted(entry.spec.name)}")
        if dtype.kind != "f":
            continue
        worst = _magnitude(data, dtype)
        if not math.isfinite(worst):
            raise _refused(f"{_quoted(entry.spec.name)} holds a value that is not a number")
        if worst > largest:
            raise _refused(f"{_quoted(entry.spec.name)} holds {worst:.3g}, more than {largest:.3g}")


def _magnitude(data: bytes, dtype: np.dtype[Any]) -> float:
    """Return the largest value without its sign; NaN when one of them is."""
    if dtype.itemsize == _HALF_BYTES:
        # numpy compares halves one by one, in software. Without their sign their bits have the order
        # of their values, infinity and NaN above all.
        largest = (np.frombuffer(data, "<u2") & _WITHOUT_SIGN).max()
        return float(largest.view(np.float16))
    values = np.frombuffer(data, dtype)
    # One pass each without a copy; NaN comes through all three.
    with np.errstate(invalid="ignore"):
        return float(np.maximum(values.max(), -values.min()))


def _entry(name: str, value: object) -> TensorEntry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _refused(f"{_quoted(name)} has no dtype, shape and offsets, or more than those")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _refused(f"{_quoted(name)} has a dtype that no study uses")
    if not _whole_numbers(shape) or len(shape) > 8:
        raise _refused(f"{_quoted(name)} has a shape that is none")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise _refused(f"{_quoted(name)} has offsets that are none")
    begin, end = offsets
    # No tensor of a network is empty; a million empty ones are how to keep a reader busy.
    needed = math.prod(shape) * _DTYPES[dtype].itemsize
    if needed == 0 or end - begin != needed:
        raise _refused(f"{_quoted(name)} has {end - begin} bytes for {needed} bytes of values")
    return TensorEntry(
        spec=TensorSpec(name=name, shape=tuple(shape), dtype=dtype), begin=begin, end=end
    )


def _whole_numbers(value: object) -> bool:
    """Whether it is a list of non-negative integers (True is none) that fit 63 bits."""
    return isinstance(value, list) and all(
        type(number) is int and 0 <= number < 1 << 63 for number in value
    )


def _check_metadata(value: object) -> None:
    if not isinstance(value, dict) or not all(
        isinstance(key, str) and isinstance(text, str) for key, text in value.items()
    ):
        raise _refused("the header's metadata is not a table of texts")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is given twice")
    return table


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _quoted(name: str) -> str:
    return f"“{safe_text(name, 80)}”"


def _refused(sentence: str) -> PeerMistake:
    return PeerMistake(sentence, code=ErrorCode.TENSORS_REFUSED)
