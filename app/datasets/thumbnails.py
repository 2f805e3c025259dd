"""Small pictures of a case, so that a person sees at a glance that image and label fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.datasets.geometry import Difference, Geometry, Plane, PlaneView, differences, plane_view
from app.datasets.images import Volume, VoxelArray

Picture = npt.NDArray[np.uint8]

# Grey values outside are spikes and padding; the same range as the viewer's first window.
_DARKEST_PERCENT: Final = 0.5
_BRIGHTEST_PERCENT: Final = 99.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thumbnail:
    """A slice as the screen shows it: grey values and label values, both (rows, columns).

    Pixels are square; `slice_number` is the plane's own count and `view` tells its letters.
    `fits` is False when the label lies on another grid, and is then not drawn.
    """

    grey: Picture
    labels: Picture
    slice_number: int
    view: PlaneView
    fits: bool


def thumbnail(
    image: Volume,
    label: Volume | None,
    *,
    longest_side: int = 96,
    plane: Plane = Plane.AXIAL,
    window: tuple[float, float] | None = None,
) -> Thumbnail:
    """Draw the middle slice of the largest label, or of the image when nothing is labelled.

    `window` is (darkest, brightest) value; without it the slice's own range is used.
    """
    view = plane_view(image.geometry, plane)
    fits = label is None or Difference.SHAPE not in differences(image.geometry, label.geometry)
    usable = label if fits else None
    index = middle_of_largest_label(None if usable is None else usable.array, view.slice_axis)
    length = image.array.shape[view.slice_axis]
    if index is None:
        index = length // 2
    number = length - 1 - index if view.flip_slices else index
    rows, columns = _sampling(view, image.geometry, longest_side)
    grey = view.cut(image.array, number)[np.ix_(rows, columns)]
    labels = (
        np.zeros(grey.shape, dtype=np.uint8)
        if usable is None
        else np.clip(view.cut(usable.array, number)[np.ix_(rows, columns)], 0, 255)
    )
    return Thumbnail(
        grey=_as_grey(grey, window),
        labels=np.ascontiguousarray(labels, dtype=np.uint8),
        slice_number=number,
        view=view,
        fits=fits,
    )


def middle_of_largest_label(labels: VoxelArray | None, axis: int) -> int | None:
    """Return the index along `axis` that halves the voxels of the largest label.

    None without a label. The middle by volume lies in the label also when it is bent or in parts.
    """
    if labels is None:
        return None
    values, counts = np.unique(labels[np.greater(labels, 0)], return_counts=True)
    if not values.size:
        return None
    largest = values[np.argmax(counts)]
    others = tuple(other for other in range(3) if other != axis)
    along = np.cumsum(np.count_nonzero(labels == largest, axis=others))
    return int(np.searchsorted(along, along[-1] / 2))


def _sampling(
    view: PlaneView, geometry: Geometry, longest_side: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Choose rows and columns so that pixels are square and the longest side fits."""
    row_mm, column_mm = view.pixel_mm(geometry)
    rows, columns = geometry.shape[view.row_axis], geometry.shape[view.column_axis]
    mm_per_pixel = max(rows * row_mm, columns * column_mm) / longest_side

    def sample(length: int, spacing_mm: float) -> npt.NDArray[np.intp]:
        count = max(1, round(length * spacing_mm / mm_per_pixel))
        return ((np.arange(count) + 0.5) * length / count).astype(np.intp)

    return sample(rows, row_mm), sample(columns, column_mm)


def _as_grey(values: VoxelArray, window: tuple[float, float] | None) -> Picture:
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float32), posinf=0.0, neginf=0.0)
    if window is None:
        dark, bright = np.percentile(numbers, (_DARKEST_PERCENT, _BRIGHTEST_PERCENT))
    else:
        dark, bright = window
    if bright <= dark:
        return np.zeros(numbers.shape, dtype=np.uint8)
    scaled = (numbers - dark) * (255.0 / (bright - dark))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)
