"""Safetensors files on disk, one tensor in memory at a time: reading, checking, writing, changing.

No file is mapped: mapped pages of ten updates would count as this process's memory.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import numpy as np
import numpy.typing as npt

from app.domain.errors import ErrorCode, OurMistake, PeerMistake, safe_text
from app.domain.rounds import TensorSpec
from app.domain.study import Transfer
from app.federation.transfer import ChangedTensors, change_manifest, contents_of
from app.system.atomic import PRIVATE_FILE, sync_folder
from app.wire.tensors import (
    LENGTH_BYTES,
    check_tensor_file,
    header_length,
    parse_header,
    read_header,
)

_BINARY: Final = getattr(os, "O_BINARY", 0)
"""Windows would change line ends."""
_DTYPES: Final = {"F16": "<f2", "F32": "<f4", "I8": "i1"}


class TensorFile:
    """A safetensors file of exactly `manifest`'s tensors; its header is checked, not its values.

    Raises:
        PeerMistake: (TENSORS_REFUSED) the header is not that of `manifest`.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, manifest: Sequence[TensorSpec]) -> None:
        self._path = path
        with path.open("rb") as file:
            header = read_header(_reader(file), size=path.stat().st_size, manifest=manifest)
        self._start = header.data_start
        self._entries = {entry.spec.name: entry for entry in header.tensors}

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Return one tensor; raises KeyError when there is none of this name."""
        entry = self._entries[name]
        array = np.fromfile(
            self._path,
            np.dtype(_DTYPES[entry.spec.dtype]),
            count=math.prod(entry.spec.shape),
            offset=self._start + entry.begin,
        )
        return array.reshape(entry.spec.shape)


class TensorFileWriter:
    """Writes a safetensors file of `manifest` at `path`, its tensors in any order, each once.

    Used as a context manager; the file is durable when the block ends well, unless it need not be.
    A block that fails leaves half a file: write beside, then rename.

    Raises:
        OSError: the disk refuses.
        OurMistake: a tensor has another shape or type than the manifest's, or one was left out.
    """

    def __init__(self, path: Path, manifest: Sequence[TensorSpec], *, durable: bool = True) -> None:
        self._path, self._durable = path, durable
        header = header_bytes(manifest)
        self._places: dict[str, tuple[TensorSpec, int]] = {}
        position = len(header)
        for spec in manifest:
            self._places[spec.name] = (spec, position)
            position += math.prod(spec.shape) * np.dtype(_DTYPES[spec.dtype]).itemsize
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, PRIVATE_FILE)
        self._file = os.fdopen(handle, "wb")
        self._file.write(header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is not None:
                return
            if self._places:
                raise OurMistake(f"the tensor {next(iter(self._places))} was not written")
            self._file.flush()
            if self._durable:
                os.fsync(self._file.fileno())

    def write(self, name: str, tensor: npt.NDArray[Any]) -> None:
        """Put one tensor in its place."""
        spec, position = self._places.pop(name)
        dtype = np.dtype(_DTYPES[spec.dtype])
        if tensor.shape != spec.shape or tensor.dtype != dtype:
            raise OurMistake(f"the tensor {name} is {tensor.dtype}{tensor.shape}")
        self._file.seek(position)
        self._file.write(np.ascontiguousarray(tensor).data)


def read_manifest(path: Path) -> tuple[TensorSpec, ...]:
    """Return names, shapes and types of one of our own tensor files in the order of its bytes."""
    with path.open("rb") as file:
        length = header_length(file.read(LENGTH_BYTES))
        header = parse_header(file.read(length), length=length)
    return tuple(entry.spec for entry in header.tensors)


def check_file(path: Path, manifest: Sequence[TensorSpec]) -> None:
    """Check a whole file: its header is exactly `manifest`, every value finite and not absurd.

    Raises:
        PeerMistake: (TENSORS_REFUSED) header, names, shapes, types or a value are wrong.
    """
    with path.open("rb") as file:
        check_tensor_file(_reader(file), size=path.stat().st_size, manifest=manifest)


def apply_change(
    base: Path,
    change: Path,
    transfer: Transfer,
    target: Path,
    *,
    network: Sequence[TensorSpec] | None = None,
) -> None:
    """Write the model that `base` becomes by `change`; durable when this returns.

    Equal files give equal bytes on every machine. In asymmetric averaging the two models need not
    hold the same tensors: give all tensors of the site's own `network`, in its order.

    Raises:
        PeerMistake: (TENSORS_REFUSED) the change does not fit the base.
        OSError: the disk refuses.
    """
    before = manifest = read_manifest(base)
    whole: frozenset[str] = frozenset()
    if network is not None:
        manifest, whole = contents_of(read_manifest(change), network)
        _check_known(manifest, before, whole)
    wanted = change_manifest(manifest, transfer, whole)
    check_file(change, wanted)
    changed = ChangedTensors(
        TensorFile(base, before), TensorFile(change, wanted), manifest, transfer, whole
    )
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with TensorFileWriter(beside, manifest) as writer:
            for spec in manifest:
                writer.write(spec.name, changed.read(spec.name))
        beside.replace(target)
        sync_folder(target.parent)
    finally:
        beside.unlink(missing_ok=True)


def _check_known(
    manifest: Sequence[TensorSpec], before: Sequence[TensorSpec], whole: frozenset[str]
) -> None:
    known = frozenset(before)
    for spec in manifest:
        if spec.name not in whole and spec not in known:
            raise PeerMistake(
                f"{safe_text(spec.name, 80)!r} is to be changed, but is not in the model before",
                code=ErrorCode.TENSORS_REFUSED,
            )


def header_bytes(manifest: Sequence[TensorSpec]) -> bytes:
    """Return the bytes before the tensors of a safetensors file that holds `manifest` in its order.

    Format: huggingface/safetensors, README "Format"; padded to 8 bytes as its own writer does.
    """
    table: dict[str, object] = {}
    position = 0
    for spec in manifest:
        end = position + math.prod(spec.shape) * np.dtype(_DTYPES[spec.dtype]).itemsize
        entry = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [position, end]}
        table[spec.name] = entry
        position = end
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % LENGTH_BYTES)
    return len(header).to_bytes(LENGTH_BYTES, "little") + header


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read
