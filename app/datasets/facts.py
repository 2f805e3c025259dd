"""What the checks need to know of a case: each file is read once and forgotten again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.datasets.geometry import Geometry, Voxel
from app.datasets.images import (
    Fault,
    Header,
    ImageProblem,
    VoxelArray,
    cut_off,
    expected_bytes,
    read_header,
    read_volume,
)
from app.datasets.nifti import NiftiContent, inspect, read_layout
from app.domain.dataset import Case
from app.domain.errors import DataProblem, ErrorCode, JobFailed

# Integer labels up to here are counted by index, which is far quicker than sorting.
_COUNTABLE = 1 << 16
# A label file with more distinct values than this is an image; a list of them helps nobody.
_MOST_VALUES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What one image or label file holds.

    `problem` is why it could not be read; all else is then meaningless. `not_finite` counts NaN
    and infinite voxels, `minimum` and `maximum` leave them out; `read_as_zero` says that the
    reader, nnU-Net's too, puts 0 in their place. `values` (labels only) are
    (value, voxels, first voxel), most frequent values first when there are too many.
    """

    path: str
    problem: ImageProblem | None = None
    geometry: Geometry | None = None
    notes: tuple[tuple[str, str], ...] = ()
    voxels: int = 0
    minimum: float = 0.0
    maximum: float = 0.0
    not_finite: int = 0
    first_not_finite: Voxel | None = None
    read_as_zero: bool = False
    pixels_sha256: str = ""
    values: tuple[tuple[float, int, Voxel], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFacts:
    """What the files of one case hold. `label` is None for a case that needs none."""

    case: Case
    channels: tuple[ImageFacts, ...]
    label: ImageFacts | None

    @property
    def readable_channels(self) -> tuple[ImageFacts, ...]:
        """The channels whose voxels could be read."""
        return tuple(channel for channel in self.channels if channel.problem is None)


class ExaminationStopped(JobFailed):
    """Raised between two files when a person asked to stop."""

    code = ErrorCode.JOB_STOPPED

    def __init__(self) -> None:
        super().__init__("the check was stopped")


def examine(case: Case, *, stopped: Callable[[], bool]) -> CaseFacts:
    """Read every file of a case once.

    A file that cannot be read becomes a fact, not an exception.

    Raises:
        ExaminationStopped: `stopped` said so before the next file.
    """

    def read(path: str, *, label: bool) -> ImageFacts:
        if stopped():
            raise ExaminationStopped
        return image_facts(Path(path), label=label)

    return CaseFacts(
        case=case,
        channels=tuple(read(path, label=False) for path in case.channels),
        label=None if case.label is None else read(case.label, label=True),
    )


def image_facts(path: Path, *, label: bool) -> ImageFacts:
    """Read one file; `label` counts its values. What goes wrong is a fact in `problem`."""
    try:
        return _read_facts(path, label=label)
    except ImageProblem as problem:
        return ImageFacts(path=str(path), problem=problem)
    except (MemoryError, DataProblem) as exc:
        if isinstance(exc, DataProblem) and exc.code is not ErrorCode.MEMORY_FULL:
            raise
        fault, reason = Fault.MEMORY, "it does not fit into memory"
    except OSError as exc:  # a network drive can go away between two reads
        fault, reason = Fault.FORMAT, f"the disk reports “{exc.strerror}”"
    return ImageFacts(path=str(path), problem=ImageProblem(path, fault, reason))


def _read_facts(path: Path, *, label: bool) -> ImageFacts:
    header = read_header(path)
    hidden = _hidden_by_reader(path, header)
    volume = read_volume(path, header=header)
    array = volume.array
    finite = _finite(array)
    not_finite = 0 if finite is None else int(array.size - np.count_nonzero(finite))
    first = None
    if hidden.first_not_finite is not None:
        not_finite, first = hidden.not_finite, _voxel(hidden.first_not_finite, array.shape)
        usable = array
    elif finite is not None and not_finite:
        first = _voxel(int(np.argmin(finite)), array.shape)
        usable = array[finite]
    else:
        usable = array
    return ImageFacts(
        path=str(path),
        geometry=volume.geometry,
        notes=header.notes,
        voxels=array.size,
        minimum=float(usable.min()) if usable.size else 0.0,
        maximum=float(usable.max()) if usable.size else 0.0,
        not_finite=not_finite,
        first_not_finite=first,
        # nnU-Net reads .nii by another library than .nii.gz, one that lets NaN through.
        read_as_zero=hidden.not_finite > 0 and path.name.casefold().endswith(".gz"),
        pixels_sha256=_pixels_digest(array),
        values=_values(array, finite) if label else (),
    )


def _hidden_by_reader(path: Path, header: Header) -> NiftiContent:
    """Look for what SimpleITK does not tell of a NIfTI file.

    Raises:
        ImageProblem: the file ends early or is damaged.
    """
    if not path.name.casefold().endswith((".nii", ".nii.gz")):
        return NiftiContent(sound_bytes=0)
    content, expected = inspect(path, read_layout(path)), expected_bytes(path, header)
    if expected is not None and content.sound_bytes < expected:
        raise cut_off(path, content.sound_bytes, expected)
    return content


def _finite(array: VoxelArray) -> npt.NDArray[np.bool_] | None:
    """Return where voxels are numbers; None for integers, which always are."""
    return np.isfinite(array) if np.issubdtype(array.dtype, np.inexact) else None


def _pixels_digest(array: VoxelArray) -> str:
    """Digest voxels and shape, slice by slice, so that no copy of the volume is made."""
    digest = hashlib.sha256(repr(array.shape).encode())
    for plane in array:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def _values(
    array: VoxelArray, finite: npt.NDArray[np.bool_] | None
) -> tuple[tuple[float, int, Voxel], ...]:
    counts = _counts(array, finite)
    frequent = sorted(counts.items(), key=lambda item: -item[1])[:_MOST_VALUES]
    return tuple(
        (value, count, _voxel(int(np.argmax(array == value)), array.shape))
        for value, count in sorted(frequent)
    )


def _counts(array: VoxelArray, finite: npt.NDArray[np.bool_] | None) -> dict[float, int]:
    if np.issubdtype(array.dtype, np.integer) and array.size:
        lowest, highest = int(array.min()), int(array.max())
        if lowest >= 0 and highest < _COUNTABLE:
            totals = np.zeros(highest + 1, dtype=np.int64)
            for plane in array:  # bincount turns its argument into int64: one slice at a time
                totals += np.bincount(plane.ravel(), minlength=highest + 1)
            return {float(v): int(totals[v]) for v in np.flatnonzero(totals)}
    values, counts = np.unique(array if finite is None else array[finite], return_counts=True)
    return {float(value): int(count) for value, count in zip(values, counts, strict=True)}


def _voxel(flat: int, shape: tuple[int, ...]) -> Voxel:
    z, y, x = np.unravel_index(flat, shape)
    return int(z), int(y), int(x)
