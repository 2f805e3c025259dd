"""The header of a safetensors file, checked before anything of the file is loaded.

The safetensors library accepts what a hostile peer may send: duplicate names (the last wins), any
text as a name, headers of many megabytes, a million empty tensors (30 s of work). Here a file is
only read when its header is small, its offsets are contiguous and its length is exact; an update is
only taken when names, shapes and types are exactly those of the study's model.

Layout (safetensors format, version 0.x): 8 bytes little-endian length of the header, the header as
JSON, the tensors' bytes without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import msgspec

from app.domain.errors import ErrorCode, PeerMistake, safe_text
from app.domain.rounds import TensorSpec

MAX_HEADER: Final = 1 << 20
MAX_TENSORS: Final = 4096
LENGTH_BYTES: Final = 8
ITEM_BYTES: Final = {"F16": 2, "F32": 4}
_MAX_DIMENSIONS: Final = 8
_METADATA: Final = "__metadata__"

Read = Callable[[int, int], bytes]
"""Return `size` bytes from `offset` on; fewer only at the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlace:
    """One tensor and where its bytes lie, counted from the start of the file."""

    spec: TensorSpec
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """All tensors of a file in the order of their bytes."""

    places: tuple[TensorPlace, ...]

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Names, shapes and types, in the order of their bytes."""
        return tuple(place.spec for place in self.places)

    def place(self, name: str) -> TensorPlace:
        """Return where a tensor lies; raises KeyError when there is none of this name."""
        for place in self.places:
            if place.spec.name == name:
                return place
        raise KeyError(name)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read_header(read: Read, file_size: int) -> Header:
    """Read and check the header of a file of `file_size` bytes.

    Raises:
        PeerMistake: (TENSORS_REFUSED) the header is damaged, too large, names a tensor twice, or its
            offsets have gaps, overlap or do not end with the file.
    """
    length = int.from_bytes(read(0, LENGTH_BYTES), "little")
    if not 2 <= length <= MAX_HEADER or LENGTH_BYTES + length > file_size:
        _refuse(f"a header of {length} bytes")
    start = LENGTH_BYTES + length
    try:
        table = json.loads(read(LENGTH_BYTES, length), object_pairs_hook=_without_doubles)
    except (UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise _refused("a header that is no JSON") from exc
    if not isinstance(table, dict):
        _refuse("a header that is no table")
    table.pop(_METADATA, None)
    if not 1 <= len(table) <= MAX_TENSORS:
        _refuse(f"{len(table)} tensors")
    places = sorted(
        (_place(name, entry, start) for name, entry in table.items()), key=lambda one: one.begin
    )
    position = start
    for place in places:
        if place.begin != position:
            _refuse(f"a gap or an overlap before tensor {safe_text(place.spec.name, 80)!r}")
        position = place.end
    if position != file_size:
        _refuse(f"{file_size} bytes where its header promises {position}")
    return Header(places=tuple(places))


def check_header(header: Header, manifest: Sequence[TensorSpec]) -> None:
    """Check that a file holds exactly the tensors of `manifest`, in any order.

    Raises:
        PeerMistake: (TENSORS_REFUSED) a tensor is missing, foreign, or of another shape or type.
    """
    expected = {spec.name: spec for spec in manifest}
    for spec in header.specs:
        wanted = expected.pop(spec.name, None)
        if wanted is None:
            _refuse(f"a foreign tensor {safe_text(spec.name, 80)!r}")
        if spec != wanted:
            _refuse(
                f"tensor {spec.name!r} of shape {spec.shape} and type {spec.dtype}, "
                f"not {wanted.shape} and {wanted.dtype}"
            )
    if expected:
        _refuse(f"no tensor {next(iter(expected))!r}")


def write_header(manifest: Sequence[TensorSpec]) -> bytes:
    """Return the bytes before the tensors of a file that holds `manifest` in its order."""
    table: dict[str, object] = {}
    position = 0
    for spec in manifest:
        end = position + math.prod(spec.shape) * ITEM_BYTES[spec.dtype]
        table[spec.name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [position, end],
        }
        position = end
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % LENGTH_BYTES)
    return len(header).to_bytes(LENGTH_BYTES, "little") + header


def _place(name: str, entry: object, start: int) -> TensorPlace:
    try:
        checked = msgspec.convert(entry, _Entry, strict=True)
    except msgspec.ValidationError as exc:
        raise _refused(f"a damaged entry for tensor {safe_text(name, 80)!r}") from exc
    if checked.dtype not in ITEM_BYTES:
        _refuse(f"tensor {safe_text(name, 80)!r} of type {safe_text(checked.dtype, 20)!r}")
    shape = checked.shape
    if len(shape) > _MAX_DIMENSIONS or any(not 1 <= count <= 1 << 31 for count in shape):
        _refuse(f"tensor {safe_text(name, 80)!r} with an impossible shape")
    begin, end = checked.data_offsets
    if begin < 0 or end - begin != math.prod(shape) * ITEM_BYTES[checked.dtype]:
        _refuse(f"tensor {safe_text(name, 80)!r} with {end - begin} bytes for its shape")
    spec = TensorSpec(name=name, shape=shape, dtype=checked.dtype)
    return TensorPlace(spec=spec, begin=start + begin, end=start + end)


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    if len(table) > MAX_TENSORS + 1:
        raise ValueError("too many names")
    return table


def _refused(what: str) -> PeerMistake:
    return PeerMistake(f"the tensor file has {what}", code=ErrorCode.TENSORS_REFUSED)


def _refuse(what: str) -> NoReturn:
    raise _refused(what)
