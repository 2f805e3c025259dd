"""Averaging the updates of a round: files in, one file out, one tensor in memory at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.coordinator.spool import Spool
from app.coordinator.translation import reference
from app.domain.errors import FednnunetError, PeerMistake
from app.domain.ids import SiteName
from app.domain.rounds import BlobRef, ModelUpdate, TensorSpec
from app.domain.study import Aggregation
from app.federation.averaging import TensorsRefused, average, check_tensor
from app.system.atomic import disk_errors
from app.wire.tensors import Header, check_header, read_header, write_header

_DTYPES: Final = {"F16": "<f2", "F32": "<f4"}


class UnfitUpdate(PeerMistake):
    """Raised when one site's update cannot be used; `site` says whose."""

    def __init__(self, site: SiteName, reason: FednnunetError) -> None:
        super().__init__(f"the update of {site} cannot be used: {reason}", code=reason.code)
        self.site = site


class TensorFile:
    """A safetensors file whose header was checked; tensors are read one at a time, not mapped.

    Mapped pages of ten updates would count as this process's memory; read ones are given back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.header = read_file_header(path)

    def read(self, name: str) -> npt.NDArray[np.generic]:
        """Return one tensor; raises KeyError when there is none of this name."""
        place = self.header.place(name)
        dtype = np.dtype(_DTYPES[place.spec.dtype])
        array = np.fromfile(
            self._path, dtype, count=math.prod(place.spec.shape), offset=place.begin
        )
        return array.reshape(place.spec.shape)


def read_file_header(path: Path) -> Header:
    """Read and check the header of a tensor file; raises as `app.wire.tensors.read_header`."""
    with path.open("rb") as file:

        def read(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        return read_header(read, path.stat().st_size)


def read_manifest(path: Path) -> tuple[TensorSpec, ...]:
    """Return names, shapes and types of a tensor file in the order of its bytes."""
    return read_file_header(path).specs


def check_weights(path: Path, manifest: Sequence[TensorSpec], *, site: SiteName) -> None:
    """Refuse an update that does not fit the study's model.

    Raises:
        PeerMistake: (TENSORS_REFUSED) header, names, shapes, types or a value are wrong.
    """
    file = TensorFile(path)
    check_header(file.header, manifest)
    for spec in manifest:
        check_tensor(file.read(spec.name), spec, site)


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
            file = TensorFile(spool.verify(update.weights.sha256))
            check_header(file.header, manifest)
        except FednnunetError as exc:
            raise UnfitUpdate(update.site, exc) from exc
        readers.append(file)
    with disk_errors(target), target.open("wb") as output:
        output.write(write_header(manifest))

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
