"""Where the voxels of an uncompressed file lie, so that huge images can be mapped, not read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

_NIFTI_TYPES: Final = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2"}
_META_TYPES: Final = {
    "MET_UCHAR": "u1",
    "MET_CHAR": "i1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# NRRD allows many spellings; these are the ones that writers use.
_NRRD_TYPES: Final = {
    "uchar": "u1",
    "unsigned char": "u1",
    "uint8": "u1",
    "uint8_t": "u1",
    "signed char": "i1",
    "int8": "i1",
    "short": "i2",
    "int16": "i2",
    "int16_t": "i2",
    "ushort": "u2",
    "unsigned short": "u2",
    "uint16": "u2",
    "uint16_t": "u2",
    "int": "i4",
    "int32": "i4",
    "int32_t": "i4",
    "uint": "u4",
    "unsigned int": "u4",
    "uint32": "u4",
    "float": "f4",
    "double": "f8",
}
_LONGEST_TEXT_HEADER: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLayout:
    """Voxels lie from `offset` to the end of the file, x fastest, as `voxel_type`."""

    offset: int
    voxel_type: np.dtype[np.generic]


def raw_layout(path: Path) -> RawLayout | None:
    """Return where the voxels lie, or None when the file is packed, scaled or of another kind.

    Only files that SimpleITK has already accepted may be given: sizes are not checked here.
    """
    name = path.name.casefold()
    with path.open("rb") as file:
        start = file.read(_LONGEST_TEXT_HEADER)
    if name.endswith(".nii"):
        return _nifti(start)
    if name.endswith(".mha"):
        return _meta_image(start)
    if name.endswith(".nrrd"):
        return _nrrd(start)
    return None


def _nifti(start: bytes) -> RawLayout | None:
    if start[344:348] != b"n+1\0":
        return None
    order = "<" if start[:4] == b"\x5c\x01\0\0" else ">"
    (kind,) = struct.unpack_from(order + "h", start, 70)
    offset, slope, intercept = struct.unpack_from(order + "fff", start, 108)
    # With a slope SimpleITK returns scaled numbers, which are not in the file.
    if kind not in _NIFTI_TYPES or slope not in (0.0, 1.0) or intercept != 0.0:
        return None
    return RawLayout(offset=int(offset), voxel_type=np.dtype(order + _NIFTI_TYPES[kind]))


def _meta_image(start: bytes) -> RawLayout | None:
    head, found, _ = start.partition(b"ElementDataFile = LOCAL\n")
    if not found:
        return None
    fields = _fields(head.decode("latin-1"), "=")
    kind = _META_TYPES.get(fields.get("elementtype", ""))
    if kind is None or fields.get("compresseddata", "False").casefold() == "true":
        return None
    order = ">" if fields.get("binarydatabyteordermsb", "False").casefold() == "true" else "<"
    return RawLayout(offset=len(head) + len(found), voxel_type=np.dtype(order + kind))


def _nrrd(start: bytes) -> RawLayout | None:
    head, found, _ = start.partition(b"\n\n")
    fields = _fields(head.decode("latin-1"), ":")
    kind = _NRRD_TYPES.get(fields.get("type", ""))
    if not found or kind is None or fields.get("encoding") != "raw" or "data file" in fields:
        return None
    order = ">" if fields.get("endian") == "big" else "<"
    return RawLayout(offset=len(head) + len(found), voxel_type=np.dtype(order + kind))


def _fields(text: str, separator: str) -> dict[str, str]:
    pairs = (line.partition(separator) for line in text.splitlines())
    return {key.strip().casefold(): value.strip() for key, found, value in pairs if found}
