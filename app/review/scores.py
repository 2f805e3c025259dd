"""How well a prediction agrees with a reference, label by label.

Definitions, where libraries differ:

- *Surface*: voxels of a mask with a face neighbour outside it; outside the image counts as
  outside. In an image of one slice only neighbours within the slice count.
- *HD95*: the 95th percentile (linear interpolation) of the distances of all surface voxels of
  either mask to the other mask's nearest surface voxel, taken together (as medpy's ``hd95``).
- *Surface Dice*: the share of all those surface voxels that lie within the tolerance of the other
  surface (voxel-counting normalised surface distance, as MONAI's ``SurfaceDiceMetric``).
- *Components*: voxels that touch at a face, edge or corner belong together.
- Voxels with the reference's ignore label count for nothing, as in nnU-Net.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from app.domain.dataset import BACKGROUND, IGNORE
from app.domain.errors import ErrorCode, JobFailed
from app.domain.segmentation import CaseScore, CaseVolumes, LabelScore, LabelVolume
from app.review.label_maps import (
    LabelMap,
    Mask,
    bounding_box,
    mask_of,
    require_one_grid,
    voxel_ml,
)

Labels = Mapping[str, int | tuple[int, ...]]
Distances = npt.NDArray[np.float64]

DEFAULT_TOLERANCE_MM: Final = 1.0
_HAUSDORFF_PERCENT: Final = 95
# Distances come from float32 squares: a distance equal to the tolerance must not miss it.
_ROUNDING: Final = 1e-6


def score_case(
    case: str,
    reference: LabelMap,
    prediction: LabelMap,
    labels: Labels,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
) -> CaseScore:
    """Score every foreground label, regions included.

    Raises:
        GridsDiffer: the two do not lie on one voxel grid.
    """
    require_one_grid(case, reference, prediction)
    judged = None
    if IGNORE in labels:
        judged = ~mask_of(reference.array, labels[IGNORE])
    scores: list[LabelScore] = []
    for name, value in labels.items():
        if name in (BACKGROUND, IGNORE):
            continue
        true, predicted = mask_of(reference.array, value), mask_of(prediction.array, value)
        if judged is not None:
            true, predicted = true & judged, predicted & judged
        scores.append(score_masks(name, true, predicted, reference.spacing_mm, tolerance_mm))
    return CaseScore(case=case, labels=tuple(scores))


def score_masks(
    label: str,
    reference: Mask,
    prediction: Mask,
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> LabelScore:
    """Score one label given as two masks (z, y, x) of one shape."""
    flat_axes = tuple(axis for axis in range(3) if reference.shape[axis] == 1)
    box = bounding_box(reference | prediction)
    if box is None:
        return LabelScore(
            label=label,
            dice=None,
            hausdorff95_mm=None,
            surface_dice=None,
            reference_ml=0.0,
            prediction_ml=0.0,
            reference_components=0,
            prediction_components=0,
        )
    # Distances outside the box of both masks are never asked for: a whole CT took 64 s, this 2.6.
    true, predicted = reference[box], prediction[box]
    true_voxels, predicted_voxels = int(np.count_nonzero(true)), int(np.count_nonzero(predicted))
    common = int(np.count_nonzero(true & predicted))
    if true_voxels and predicted_voxels:
        edge = surface_of(true, flat_axes=flat_axes)
        predicted_edge = surface_of(predicted, flat_axes=flat_axes)
        distances = surface_distances_mm(edge, predicted_edge, spacing_mm)
        hausdorff: float | None = _hausdorff95_mm(edge, predicted_edge, distances, spacing_mm)
        surface_dice = float(np.mean(distances <= tolerance_mm * (1 + _ROUNDING)))
    else:
        hausdorff, surface_dice = None, 0.0
    ml = voxel_ml(spacing_mm)
    return LabelScore(
        label=label,
        dice=2 * common / (true_voxels + predicted_voxels),
        hausdorff95_mm=hausdorff,
        surface_dice=surface_dice,
        reference_ml=true_voxels * ml,
        prediction_ml=predicted_voxels * ml,
        reference_components=count_components(true),
        prediction_components=count_components(predicted),
    )


def measure_case(case: str, prediction: LabelMap, labels: Labels) -> CaseVolumes:
    """Measure volume and pieces of every foreground label, for a case without a reference."""
    one_voxel_ml = voxel_ml(prediction.spacing_mm)
    measured = []
    for name, value in labels.items():
        if name in (BACKGROUND, IGNORE):
            continue
        mask = mask_of(prediction.array, value)
        box = bounding_box(mask)
        measured.append(
            LabelVolume(
                label=name,
                ml=float(np.count_nonzero(mask)) * one_voxel_ml,
                components=0 if box is None else count_components(np.ascontiguousarray(mask[box])),
            )
        )
    return CaseVolumes(case=case, labels=tuple(measured))


def score_pairs(
    pairs: Sequence[tuple[str, str, str]],
    labels: Labels,
    *,
    read: Callable[[Path], LabelMap],
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[CaseScore, ...]:
    """Score (case, reference path, prediction path), in the order given.

    `read` is `app.datasets.images.read_volume`; this room does not know files of images.

    Raises:
        GridsDiffer: a pair does not lie on one grid.
        JobFailed: with JOB_STOPPED, when `stopped` said so between two cases.
    """
    scores: list[CaseScore] = []
    for case, reference, prediction in pairs:
        progress(len(scores), len(pairs), "scoring")
        if stopped():
            raise JobFailed("scoring was stopped", code=ErrorCode.JOB_STOPPED)
        scores.append(
            score_case(case, read(Path(reference)), read(Path(prediction)), labels, tolerance_mm)
        )
    progress(len(scores), len(pairs), "scoring")
    return tuple(scores)


def mean_foreground_dice(scores: Sequence[CaseScore]) -> float | None:
    """Return the mean over labels of each label's mean over cases, as nnU-Net's summary does.

    Values that are not defined are left out; None when none is defined.
    """
    by_label: dict[str, list[float]] = {}
    for case in scores:
        for label in case.labels:
            if label.dice is not None:
                by_label.setdefault(label.label, []).append(label.dice)
    means = [sum(values) / len(values) for values in by_label.values()]
    return sum(means) / len(means) if means else None


def encode_scores(scores: Sequence[CaseScore]) -> bytes:
    """Write scores as JSON."""
    return msgspec.json.format(msgspec.json.encode(list(scores)), indent=2)


def decode_scores(document: bytes) -> tuple[CaseScore, ...]:
    """Read what `encode_scores` wrote.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: it is something else.
    """
    return msgspec.json.decode(document, type=tuple[CaseScore, ...])


def surface_of(mask: Mask, *, flat_axes: tuple[int, ...] = ()) -> Mask:
    """Return the voxels of a mask that have a face neighbour outside it."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        if axis not in flat_axes:
            for shift in (-1, 1):
                inner &= np.roll(padded, shift, axis=axis)[1:-1, 1:-1, 1:-1]
    return mask & ~inner


def surface_distances_mm(
    first: Mask, second: Mask, spacing_mm: tuple[float, float, float]
) -> Distances:
    """Return each surface voxel's distance to the other surface, of `first` then of `second`.

    Takes two surfaces as `surface_of` gives them; neither may be empty. Exact but for float32
    rounding.
    """
    return np.concatenate(
        [
            _distances_to(second, first, spacing_mm),
            _distances_to(first, second, spacing_mm),
        ]
    )


def count_components(mask: Mask) -> int:
    """Count the parts of a mask that touch nowhere, not even at a corner."""
    import SimpleITK

    components = SimpleITK.ConnectedComponentImageFilter()
    components.FullyConnectedOn()
    components.Execute(SimpleITK.GetImageFromArray(mask.view(np.uint8)))
    return int(components.GetObjectCount())


def _hausdorff95_mm(
    first: Mask, second: Mask, distances: Distances, spacing_mm: tuple[float, float, float]
) -> float:
    """Return the 95th percentile of surface distances, between its two neighbours as numpy does.

    Those two are measured again in float64: the distance filter's float32 is off by 1e-6 mm
    and more on large organs.
    """
    place = _HAUSDORFF_PERCENT / 100 * (distances.size - 1)
    below = math.floor(place)
    above = min(below + 1, distances.size - 1)
    order = np.argpartition(distances, (below, above))
    voxels = [np.argwhere(surface) * np.asarray(spacing_mm) for surface in (first, second)]
    sides = len(voxels[0])

    def exact(at: int) -> float:
        own, other = (voxels[0], voxels[1]) if at < sides else (voxels[1], voxels[0])
        offsets = other - own[at if at < sides else at - sides]
        return math.sqrt(float(np.min(np.sum(offsets**2, axis=1))))

    low, high = exact(int(order[below])), exact(int(order[above]))
    return low + (high - low) * (place - below)


def _distances_to(surface: Mask, voxels: Mask, spacing_mm: tuple[float, float, float]) -> Distances:
    """Return the distances from some voxels to the nearest voxel of a surface."""
    import SimpleITK

    # Padding makes each surface voxel a border voxel of the object, which is what the filter
    # measures from.
    image = SimpleITK.GetImageFromArray(np.pad(surface, 1).view(np.uint8))
    image.SetSpacing(spacing_mm[::-1])
    squared = SimpleITK.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=True, useImageSpacing=True
    )
    values = SimpleITK.GetArrayFromImage(squared)[1:-1, 1:-1, 1:-1][voxels]
    # On the surface itself the signed distance is zero or less.
    return np.sqrt(np.maximum(np.asarray(values, dtype=np.float64), 0.0))
