"""Putting one voxel grid onto another by position, without resampling.

Labels come on the grid of their image, but turned, flipped, cropped or with slices left out. Each
voxel goes where its centre lies; a grid whose centres do not fall on centres is refused, because
interpolating labels is a decision that a person must make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.datasets.geometry import Geometry
from app.domain.errors import DataProblem, ErrorCode

Mask = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float64]

# Voxels: positions in DICOM are decimal text, rounded to a few digits by some writers.
_OFF_CENTRE: Final = 0.25


class OtherGrid(DataProblem):
    """Raised when voxel centres of a label do not lie on those of its image."""

    code = ErrorCode.GEOMETRY_DIFFERS

    def __init__(self, off_voxels: float) -> None:
        super().__init__(
            f"the label lies on another voxel grid than its image ({off_voxels:.2f} voxels off)"
        )
        self.off_voxels = off_voxels


def index_matrix(geometry: Geometry) -> Vector:
    """Return the matrix (3, 3) that turns an LPS offset in mm from the origin into (x, y, z)."""
    axes = np.asarray(geometry.direction) * np.asarray(geometry.spacing_mm[::-1])
    return np.asarray(np.linalg.inv(axes), dtype=np.float64)


def voxels_of(points_mm: npt.ArrayLike, geometry: Geometry) -> Vector:
    """Return the fractional voxels (n, 3) as (x, y, z) of LPS points (n, 3) in mm."""
    offsets = np.asarray(points_mm, dtype=np.float64) - np.asarray(geometry.origin_mm)
    return np.asarray(offsets @ index_matrix(geometry).T, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """Where the elements of an array come to lie: `first` (x, y, z) and whole `steps` by axis."""

    first: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]

    def voxels(self, elements: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the voxels (n, 3) as (z, y, x) of elements (n, axes)."""
        return (self.first + elements @ self.steps)[:, ::-1]


def landing(
    shape: Sequence[int],
    *,
    origin_mm: Sequence[float],
    steps_mm: Sequence[Sequence[float]],
    onto: Geometry,
) -> Landing:
    """Say where an array's elements lie on the voxels of `onto`.

    `steps_mm` is, for each axis of the array, the LPS way from one element to the next; element 0
    is at `origin_mm`.

    Raises:
        OtherGrid: elements do not lie on voxel centres.
    """
    matrix = index_matrix(onto)
    first = matrix @ (np.asarray(origin_mm, dtype=np.float64) - np.asarray(onto.origin_mm))
    steps = np.asarray(steps_mm, dtype=np.float64) @ matrix.T
    whole = np.rint(steps)
    # An axis with one element has no step; one that is longer must go from voxel to voxel.
    longer = np.asarray(shape) > 1
    single = np.abs(whole).sum(axis=1) == 1
    reach = (np.abs(steps - whole) * (np.asarray(shape)[:, None] - 1)).max(initial=0.0)
    off = max(float(np.abs(first - np.rint(first)).max()), float(reach))
    if bool((longer & ~single).any()):
        off = max(off, 1.0)
    if off > _OFF_CENTRE:
        raise OtherGrid(off)
    return Landing(first=np.rint(first).astype(np.int64), steps=whole.astype(np.int64))


def lies_within(voxels: npt.NDArray[np.int64], onto: Geometry) -> Mask:
    """Return which voxels (n, 3) as (z, y, x) the grid has."""
    return np.asarray(
        np.all((voxels >= 0) & (voxels < np.asarray(onto.shape)), axis=1), dtype=np.bool_
    )


def place(
    array: npt.NDArray[np.generic],
    *,
    origin_mm: Sequence[float],
    steps_mm: Sequence[Sequence[float]],
    onto: Geometry,
    mask: Mask,
) -> int:
    """Set in `mask` (z, y, x of `onto`) every voxel on which a nonzero element of `array` lies.

    Where the array lies is told as for `landing`. Returns how many nonzero elements lie outside of
    the grid.

    Raises:
        OtherGrid: elements do not lie on voxel centres.
    """
    where = landing(array.shape, origin_mm=origin_mm, steps_mm=steps_mm, onto=onto)
    voxels = where.voxels(np.argwhere(array != 0).astype(np.int64))
    inside = lies_within(voxels, onto)
    z, y, x = voxels[inside].T
    mask[z, y, x] = True
    return int(len(voxels) - np.count_nonzero(inside))
