"""Images and label maps in the form the slice viewer cuts from. No Qt; usable in any thread.

An image is kept as unsigned codes (int16 voxels are viewed, not copied), so that one table turns a
slice into pixels. Cutting a sagittal slice from an array (z, y, x) gathers one voxel per cache
line; a transposed copy makes it as cheap as the others (3.0 ms against 0.06 ms for 600 x 512).
That copy takes about a second for a large image, so it is made a few slices at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.datasets.geometry import PlaneView, Voxel

Array = npt.NDArray[Any]

Box = tuple[slice, slice]

MOST_LABELS: Final = 252
"""Label codes are 1 to 252: the renderer needs the last three of a byte for itself."""
_CODES: Final = 1 << 16
_SAMPLED: Final = 8
"""Every eighth voxel per axis is enough to choose a window (4 ms against 2 s for all)."""
_LEAST_SAMPLE: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Window of grey values: `level` is its centre, `width` its extent, in image units."""

    width: float
    level: float
    inverted: bool = False


class SliceSource:
    """A volume (z, y, x) of unsigned codes that is cut quickly along every axis."""

    def __init__(self, codes: Array) -> None:
        self.codes = codes
        self.shape: Voxel = (codes.shape[0], codes.shape[1], codes.shape[2])
        self._copy: Array | None = None
        """The codes, also (z, y, x), but with a sagittal slice in one piece."""
        self._copied = 0

    @property
    def ready(self) -> bool:
        """True once the copy for sagittal slices is complete."""
        return self._copied == self.shape[0]

    @property
    def bytes_held(self) -> int:
        """Memory of the codes and of their copy."""
        return self.codes.nbytes + (0 if self._copy is None else self._copy.nbytes)

    def prepare(self, slices: int | None = None) -> bool:
        """Copy `slices` more slices (default: all) for sagittal cuts; True when none is left."""
        if self._copy is None:
            z, y, x = self.shape
            self._copy = np.empty((x, z, y), self.codes.dtype).transpose(1, 2, 0)
        last = self.shape[0] if slices is None else min(self._copied + slices, self.shape[0])
        for number in range(self._copied, last):
            self._copy[number] = self.codes[number]
            self._seen(number, self.codes[number])
        self._copied = last
        return self.ready

    def release(self) -> None:
        """Give back the memory of the copy."""
        self._copy, self._copied = None, 0

    def cut(self, view: PlaneView, number: int) -> Array:
        """Return slice `number` of a plane as codes, rows and columns as on the screen."""
        if view.slice_axis == 2 and self._copy is not None and self.ready:
            return view.cut(self._copy, number)
        return view.cut(self.codes, number)

    def _seen(self, number: int, part: Array) -> None:
        """Look at one axial slice while it is in the processor's cache anyway."""


class CodedVolume(SliceSource):
    """An image (z, y, x) as unsigned codes: value = offset + scale x code.

    int16 needs no copy: its two's complement is viewed as uint16 and `signed` says so. Integers
    that span at most 65,536 values keep them exactly; all others are spread over 65,535 codes
    between their finite extremes, infinities at the ends, and code 0 stands for NaN.
    """

    def __init__(self, array: Array) -> None:
        self.signed = False
        self.offset, self.scale = 0.0, 1.0
        self.blank = False
        if array.dtype == np.int16:
            codes, self.signed = np.ascontiguousarray(array).view(np.uint16), True
        elif array.dtype in (np.uint8, np.uint16):
            codes = np.ascontiguousarray(array)
        elif array.dtype == np.int8:
            codes, self.signed = np.ascontiguousarray(array, np.int16).view(np.uint16), True
        elif array.dtype == np.bool_:
            codes = np.ascontiguousarray(array).view(np.uint8)
        else:
            codes = self._spread(array)
        super().__init__(codes)
        self._values: npt.NDArray[np.float64] | None = None

    def _spread(self, array: Array) -> Array:
        low, high, whole = np.inf, -np.inf, True
        for part in array:
            finite = part[np.isfinite(part)] if part.dtype.kind == "f" else part
            self.blank = self.blank or bool(np.isnan(part).any())
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
                whole = whole and bool((finite == np.rint(finite)).all())
        if not low < high:
            low, high = (low, low + 1.0) if np.isfinite(low) else (0.0, 1.0)
        first = 1 if self.blank else 0
        steps = _CODES - 1 - first
        self.scale = 1.0 if whole and high - low <= steps else (high - low) / steps
        self.offset = low - first * self.scale
        codes = np.empty(array.shape, np.uint16)
        for part, coded in zip(array, codes, strict=True):
            shares = np.clip(part.astype(np.float64), low, high)
            shares -= self.offset
            shares /= self.scale
            coded[...] = np.rint(np.nan_to_num(shares, copy=False))
        return codes

    def values(self) -> npt.NDArray[np.float64]:
        """Return the value of every code, in code order; NaN for the code of blanks."""
        if self._values is None:
            count = 256 if self.codes.dtype == np.uint8 else _CODES
            codes = np.arange(count)
            if self.signed:
                codes = codes.astype(np.uint16).view(np.int16)
            self._values = self.offset + self.scale * codes.astype(np.float64)
            if self.blank:
                self._values[0] = np.nan
            self._values.flags.writeable = False
        return self._values

    def value_at(self, voxel: Voxel) -> float:
        """Return the value of voxel (z, y, x) in image units."""
        return float(self.values()[self.codes[voxel]])

    def automatic_window(self) -> Window:
        """Return a window over the 0.5th to 99.5th percentile of the voxels that are not minimal."""
        values = self._sample()
        inside = values[values > values.min()]
        low, high = np.percentile(inside if inside.size else values, (0.5, 99.5))
        return Window(width=max(float(high - low), self.scale), level=float(high + low) / 2)

    def extremes(self) -> tuple[float, float]:
        """Return the smallest and largest value of a sample, for controls."""
        values = self._sample()
        return float(values.min()), float(values.max())

    def _sample(self) -> npt.NDArray[np.float64]:
        sample = self.codes[::_SAMPLED, ::_SAMPLED, ::_SAMPLED]
        if sample.size < _LEAST_SAMPLE:
            sample = self.codes
        values = self.values()[sample.ravel()]
        values = values[~np.isnan(values)]
        return values if values.size else np.zeros(1)


class LabelVolume(SliceSource):
    """A label map (z, y, x) as bytes: code 0 is background, `values` the label of every code."""

    def __init__(self, codes: Array, values: npt.NDArray[np.int64]) -> None:
        super().__init__(codes)
        self.values = values
        self.counts: npt.NDArray[np.int64] = np.zeros(len(values), np.int64)
        """Voxels per code, complete when `ready`."""
        z, y, x = self.shape
        self._shadows: dict[tuple[int, int], npt.NDArray[np.bool_]] = {
            (0, 1): np.zeros((z, y), bool),
            (0, 2): np.zeros((z, x), bool),
            (1, 2): np.zeros((y, x), bool),
        }
        """Where a label lies somewhere along the third axis; complete when `ready`."""
        self._sides: dict[tuple[int, int], list[tuple[int, int]]] = {}
        """For (slice axis, other axis) the first and past the last index with a label, by slice."""

    def label_at(self, voxel: Voxel) -> int:
        """Return the label of voxel (z, y, x)."""
        return int(self.values[self.codes[voxel]])

    def box(self, view: PlaneView, number: int) -> Box | None:
        """Return the rows and columns of a slice that hold a label; None when none does.

        Raises:
            ValueError: not every slice was seen yet (`ready`).
        """
        if not self.ready:
            raise ValueError("the label map was not looked through yet")
        index = self.shape[view.slice_axis] - 1 - number if view.flip_slices else number
        rows, columns = (
            self._side(view.slice_axis, axis, index, flip)
            for axis, flip in (
                (view.row_axis, view.flip_rows),
                (view.column_axis, view.flip_columns),
            )
        )
        return (rows, columns) if rows.stop else None

    def _side(self, slice_axis: int, axis: int, index: int, flip: bool) -> slice:
        first, stop = self._sides[slice_axis, axis][index]
        if flip and stop:
            count = self.shape[axis]
            first, stop = count - stop, count - first
        return slice(first, stop)

    def _seen(self, number: int, part: Array) -> None:
        if number == 0:
            self.counts[:] = 0
        self.counts += np.bincount(part.ravel(), minlength=len(self.values))
        filled = part != 0
        filled.any(axis=1, out=self._shadows[0, 1][number])
        filled.any(axis=0, out=self._shadows[0, 2][number])
        self._shadows[1, 2] |= filled
        if number == self.shape[0] - 1:
            for (first, second), shadow in self._shadows.items():
                self._sides[first, second] = _filled(shadow)
                self._sides[second, first] = _filled(shadow.T)


def _filled(shadow: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return for each row its first true column and one past the last; (0, 0) where there is none."""
    any_there = shadow.any(axis=1)
    first = np.where(any_there, shadow.argmax(axis=1), 0)
    stop = np.where(any_there, shadow.shape[1] - shadow[:, ::-1].argmax(axis=1), 0)
    return list(zip(first.tolist(), stop.tolist(), strict=True))


def label_volumes(arrays: Sequence[Array | None]) -> list[LabelVolume | None]:
    """Code label maps alike, whatever their types: the same code is the same label in all.

    Maps of bytes are not copied as long as their labels fit. Fractions are rounded and NaN is
    background. Of more than `MOST_LABELS` labels the largest share the last code.
    """
    given = [array for array in arrays if array is not None]
    if all(_fits(array) for array in given):
        values = np.arange(MOST_LABELS + 1, dtype=np.int64)
        return [
            None if array is None else LabelVolume(_whole_bytes(array), values) for array in arrays
        ]
    found = np.unique(np.concatenate([np.unique(part) for part in _whole_slices(given)]))
    values = np.concatenate([[0], found[found != 0][:MOST_LABELS]]).astype(np.int64)
    order = np.argsort(values)
    coded: list[LabelVolume | None] = []
    for array in arrays:
        if array is None:
            coded.append(None)
            continue
        codes = np.empty(array.shape, np.uint8)
        for part, target in zip(_whole_slices([array]), codes, strict=True):
            place = np.searchsorted(values, part, sorter=order)
            target[...] = order[np.minimum(place, len(values) - 1)]
        coded.append(LabelVolume(codes, values))
    return coded


def _fits(array: Array) -> bool:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return False
    return bool(array.min() >= -0.5 and array.max() <= MOST_LABELS)


def _whole_bytes(array: Array) -> Array:
    if array.dtype.kind != "f":
        return np.ascontiguousarray(array, np.uint8)
    codes = np.empty(array.shape, np.uint8)
    for part, target in zip(_whole_slices([array]), codes, strict=True):
        target[...] = part
    return codes


def _whole_slices(arrays: Sequence[Array]) -> Iterator[npt.NDArray[np.int64]]:
    for array in arrays:
        for part in array:
            if part.dtype.kind == "f":
                yield np.rint(np.nan_to_num(part)).astype(np.int64)
            else:
                yield part.astype(np.int64)
