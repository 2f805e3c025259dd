"""Where a prediction is wrong: connected errors, largest first, each with a place to jump to."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.domain.dataset import BACKGROUND, IGNORE
from app.review.label_maps import LabelMap, Mask, bounding_box, mask_of, require_one_grid, voxel_ml

# A noisy prediction can have a hundred thousand specks; nobody steps through more than this.
_MOST_ERRORS: Final = 200


class ErrorKind(enum.Enum):
    """Which way a voxel is wrong."""

    MISSED = "false negative"
    ADDED = "false positive"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorComponent:
    """A connected error of one label. `voxel` (z, y, x) lies in it, nearest to its centre."""

    label: str
    kind: ErrorKind
    voxels: int
    ml: float
    voxel: tuple[int, int, int]


def find_errors(
    case: str,
    reference: LabelMap,
    prediction: LabelMap,
    labels: Mapping[str, int | tuple[int, ...]],
    *,
    most: int = _MOST_ERRORS,
) -> tuple[ErrorComponent, ...]:
    """Return the `most` largest errors of all labels, largest first.

    Raises:
        GridsDiffer: the two do not lie on one voxel grid.
    """
    require_one_grid(case, reference, prediction)
    # Most of a volume is background in both: nothing is wrong there.
    box = bounding_box(np.not_equal(reference.array, prediction.array))
    if box is None:
        return ()
    theirs, ours = reference.array[box], prediction.array[box]
    corner = np.array([edge.start for edge in box])
    one_voxel_ml = voxel_ml(reference.spacing_mm)
    found: list[ErrorComponent] = []
    for label, value in _judged(labels).items():
        true, predicted = _masks(theirs, ours, labels, value)
        for kind, wrong in (
            (ErrorKind.MISSED, true & ~predicted),
            (ErrorKind.ADDED, predicted & ~true),
        ):
            found += _components(label, kind, wrong, corner, one_voxel_ml, most)
    found.sort(key=lambda error: (-error.voxels, error.label, error.kind.value, error.voxel))
    return tuple(found[:most])


def worst_slice(
    reference: LabelMap,
    prediction: LabelMap,
    labels: Mapping[str, int | tuple[int, ...]],
    label: str,
    *,
    axis: int = 0,
) -> int | None:
    """Return the index along an array axis with most wrong voxels of a label.

    Where nothing is wrong it is the slice with most of the label, and None without any.
    """
    true, predicted = _masks(reference.array, prediction.array, labels, labels[label])
    others = tuple(other for other in range(3) if other != axis)
    for mask in (true ^ predicted, true):
        counts = np.count_nonzero(mask, axis=others)
        if counts.any():
            return int(np.argmax(counts))
    return None


def _judged(labels: Mapping[str, int | tuple[int, ...]]) -> dict[str, int | tuple[int, ...]]:
    return {name: value for name, value in labels.items() if name not in (BACKGROUND, IGNORE)}


def _masks(
    reference: npt.NDArray[np.generic],
    prediction: npt.NDArray[np.generic],
    labels: Mapping[str, int | tuple[int, ...]],
    value: int | tuple[int, ...],
) -> tuple[Mask, Mask]:
    true, predicted = mask_of(reference, value), mask_of(prediction, value)
    if IGNORE in labels:
        judged = ~mask_of(reference, labels[IGNORE])
        true, predicted = true & judged, predicted & judged
    return true, predicted


def _components(
    label: str,
    kind: ErrorKind,
    wrong: Mask,
    origin: npt.NDArray[np.int64],
    one_voxel_ml: float,
    most: int,
) -> list[ErrorComponent]:
    import SimpleITK

    box = bounding_box(wrong)
    if box is None:
        return []
    inside = np.ascontiguousarray(wrong[box])
    parts = SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(inside.view(np.uint8)), True)
    # Relabelling sorts by size: the first `most` numbers are the largest parts.
    numbers: npt.NDArray[np.int64] = np.asarray(
        SimpleITK.GetArrayFromImage(SimpleITK.RelabelComponent(parts)), dtype=np.int64
    )
    places = np.argwhere((numbers > 0) & (numbers <= most))
    owner = numbers[tuple(places.T)]
    places = places[np.argsort(owner, kind="stable")]
    sizes = np.bincount(owner)[1:]
    corner = origin + np.array([edge.start for edge in box])
    return [
        ErrorComponent(
            label=label,
            kind=kind,
            voxels=len(own),
            ml=len(own) * one_voxel_ml,
            voxel=_nearest_to_centre(own + corner),
        )
        for own in np.split(places, np.cumsum(sizes)[:-1])
    ]


def _nearest_to_centre(voxels: npt.NDArray[np.int64]) -> tuple[int, int, int]:
    """Choose a voxel of the part itself: the centre of a bent one lies outside it."""
    offsets = ((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1)
    z, y, x = voxels[int(np.argmin(offsets))].tolist()
    return z, y, x
