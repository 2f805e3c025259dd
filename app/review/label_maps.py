"""What the scores need of a label map, whoever read it."""

from __future__ import annotations

import math
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from app.domain.errors import DataProblem, ErrorCode

Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]

# Label maps that went through a network come back with float32 rounding in their headers.
_SPACING_TOLERANCE: Final = 1e-3
_DIRECTION_TOLERANCE: Final = 1e-3
_ORIGIN_TOLERANCE_VOXELS: Final = 1e-2


class LabelMap(Protocol):
    """A volume of label values (z, y, x) and where it lies; `app.datasets.images.Volume` is one."""

    @property
    def array(self) -> npt.NDArray[np.generic]:
        """Label values, indexed (z, y, x)."""
        ...

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x)."""
        ...

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """LPS point (x, y, z) of the first voxel."""
        ...

    @property
    def direction(self) -> tuple[tuple[float, float, float], ...]:
        """Rows of the direction matrix; columns belong to x, y, z."""
        ...


class GridsDiffer(DataProblem):
    """Raised when reference and prediction of a case do not lie on one voxel grid."""

    code = ErrorCode.GEOMETRY_DIFFERS

    def __init__(self, case: str, aspect: str, reference: object, prediction: object) -> None:
        super().__init__(
            f"case {case}: the {aspect} of the prediction ({prediction}) differs from that of "
            f"the reference ({reference})"
        )
        self.case, self.aspect = case, aspect


def require_one_grid(case: str, reference: LabelMap, prediction: LabelMap) -> None:
    """Refuse a pair that cannot be compared voxel by voxel.

    Raises:
        GridsDiffer: naming the case and the first aspect that differs.
    """
    if reference.array.shape != prediction.array.shape:
        raise GridsDiffer(case, "shape", reference.array.shape, prediction.array.shape)
    if not np.allclose(reference.spacing_mm, prediction.spacing_mm, rtol=_SPACING_TOLERANCE):
        raise GridsDiffer(case, "spacing", reference.spacing_mm, prediction.spacing_mm)
    shift = np.abs(np.subtract(reference.origin_mm, prediction.origin_mm)).max()
    if shift > _ORIGIN_TOLERANCE_VOXELS * min(reference.spacing_mm):
        raise GridsDiffer(case, "origin", reference.origin_mm, prediction.origin_mm)
    if not np.allclose(reference.direction, prediction.direction, atol=_DIRECTION_TOLERANCE):
        raise GridsDiffer(case, "direction", reference.direction, prediction.direction)


def mask_of(array: npt.NDArray[np.generic], value: int | tuple[int, ...]) -> Mask:
    """Return where a label, or any label of a region, lies."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, tuple):
        return np.asarray(np.isin(array, value), dtype=np.bool_)
    return np.asarray(np.equal(array, value), dtype=np.bool_)


def bounding_box(mask: Mask) -> Box | None:
    """Return the smallest box around a mask, None when it is empty."""
    slices: list[slice] = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if not filled.size:
            return None
        slices.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return slices[0], slices[1], slices[2]


def voxel_ml(spacing_mm: tuple[float, float, float]) -> float:
    """Return the volume of one voxel in millilitres."""
    return math.prod(spacing_mm) / 1000.0
