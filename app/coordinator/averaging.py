"""Averaging the updates of a round: files in, one file out, one tensor in memory at a time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from app.coordinator.spool import Spool
from app.coordinator.translation import reference
from app.domain.errors import FednnunetError, PeerMistake
from app.domain.ids import SiteName
from app.domain.rounds import BlobRef, ModelUpdate, TensorSpec
from app.domain.study import Aggregation
from app.federation.averaging import TensorsRefused, average
from app.system.atomic import disk_errors
from app.wire.tensors import (
    LENGTH_BYTES,
    check_tensor_file,
    header_length,
    parse_header,
    read_header,
)

_DTYPES: Final = {"F16": "<f2", "F32": "<f4"}


class UnfitUpdate(PeerMistake):
    """Raised when one site's update cannot be used; `site` says whose."""

    def __init__(self, site: SiteName, reason: FednnunetError) -> None:
        super().__init__(f"the update of {site} cannot be used: {reason}", code=reason.code)
        self.site = site


class TensorFile:
    """A safetensors file of `manifest`'s tensors; one is read at a time, none is mapped.

    Mapped pages of ten updates would count as this process's memory; read ones are given back.
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
        dtype = np.dtype(_DTYPES[entry.spec.dtype])
        array = np.fromfile(
            self._path,
            dtype,
            count=math.prod(entry.spec.shape),
            offset=self._start + entry.begin,
        )
        return array.reshape(entry.spec.shape)


def read_manifest(path: Path) -> tuple[TensorSpec, ...]:
    """Return names, shapes and types of one of our own tensor files in the order of its bytes."""
    with path.open("rb") as file:
        length = header_length(file.read(LENGTH_BYTES))
        header = parse_header(file.read(length), length=length)
    return tuple(entry.spec for entry in header.tensors)


def check_weights(path: Path, manifest: Sequence[TensorSpec]) -> None:
    """Refuse an update that does not fit the study's model.

    Raises:
        PeerMistake: (TENSORS_REFUSED) header, names, shapes, types or a value are wrong.
    """
    with path.open("rb") as file:
        check_tensor_file(_reader(file), size=path.stat().st_size, manifest=manifest)


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


def average_updates(
    updates: Sequence[ModelUpdate],
    *,
    base: BlobRef,
    rule: Aggregation,
    spool: Spool,
    target: Path,
) -> BlobRef:
    """Average the updates of a round into a new blob of the spool. Belongs in a thread.

    Every update is read again and held against its digest first: a disk may have changed it.

    Raises:
        UnfitUpdate: one site's update cannot be used.
        OSError: the disk refuses.
    """
    manifest = read_manifest(spool.path(base.sha256))
    readers = []
    for update in updates:
        try:
            file = TensorFile(spool.verify(update.weights.sha256), manifest)
        except FednnunetError as exc:
            raise UnfitUpdate(update.site, exc) from exc
        readers.append(file)
    with disk_errors(target), target.open("wb") as output:
        output.write(header_bytes(manifest))

        def write(_: str, tensor: npt.NDArray[Any]) -> None:
            output.write(np.ascontiguousarray(tensor, "<f4").data)

        try:
            average(
                readers,
                [float(update.cases) for update in updates],
                manifest,
                write,
                sites=[update.site for update in updates],
                rule=rule,
            )
        except TensorsRefused as exc:
            raise UnfitUpdate(exc.site, exc) from exc
        output.flush()
        os.fsync(output.fileno())
    return reference(spool.keep_file(target))


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read
