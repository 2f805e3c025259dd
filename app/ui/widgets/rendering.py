"""From voxels to pixels by table look-up, without Qt: what the slice viewer paints.

One table turns an image code into an RGB32 pixel and one more lays the fill of a label over a
grey, so window, level, colours and opacity cost tables and not passes over voxels. Contours
and error hatching are made at screen resolution, only around the labels, so that they are two
device pixels wide at any zoom.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.ui.widgets.viewer_volumes import CodedVolume, Window

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint32]

OPAQUE: Final = 0xFF000000
# Okabe and Ito's palette in an order that keeps neighbours apart.
LABEL_COLOURS: Final = (
    0xE69F00,
    0x56B4E9,
    0x009E73,
    0xF0E442,
    0xCC79A7,
    0xD55E00,
    0x0072B2,
    0xBBBBBB,
)
FALSE_POSITIVE: Final = 0x56B4E9
FALSE_NEGATIVE: Final = 0xE69F00
CONTOUR_PIXELS: Final = 2
"""Width of a contour in device pixels; one more outside is its black casing."""
_PAIRS: Final = {np.dtype(np.uint8): np.uint16, np.dtype(np.uint16): np.uint32}
"""The type that holds two neighbouring codes."""
_ERROR_OPACITY: Final = 0.75
_MOST_HELD: Final = 1 << 20
"""Pixels of the largest slice whose arrays are kept for the next one."""
_FALSE_POSITIVE, _FALSE_NEGATIVE, _CASING = 253, 254, 255
_HATCH, _HATCH_LINE = 8, 4
_DASH, _DASH_LINE = 12, 8
_LIGHTER: Final = 0.45
"""How much white the lines of the reference get, to be told from those of the prediction."""


@lru_cache(maxsize=1024)
def label_colour(value: int) -> int:
    """Return the colour of a label: the same in every case; lighter, then darker after eight."""
    turn, place = divmod(abs(value) - 1, len(LABEL_COLOURS))
    colour = LABEL_COLOURS[place]
    match turn % 3:
        case 0:
            return colour
        case 1:
            return _mixed(colour, 0xFFFFFF, 0.5)
        case _:
            return _mixed(colour, 0x000000, 0.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayStyle:
    """How labels are drawn. Opacity 0..1 of the fill; contours are always opaque.

    `colours` replaces colours of the palette, `hidden` names labels that are not shown.
    """

    colours: Mapping[int, int] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    opacity: float = 0.45
    fill: bool = True
    contour: bool = True
    prediction: bool = True
    reference: bool = True
    errors: bool = False

    def colour(self, value: int) -> int:
        """Return the 0xRRGGBB of a label."""
        return self.colours.get(value, label_colour(value))


class GreyPaint:
    """The RGB32 pixel of every image code under one window. Compared by identity."""

    def __init__(self, volume: CodedVolume, window: Window) -> None:
        self.window = window
        self.table = grey_table(volume, window)


class OverlayPaint:
    """Tables of one style for label codes whose labels are `values`. Compared by identity.

    `compared` says that a prediction and a reference are both shown.
    """

    def __init__(
        self, style: OverlayStyle, values: npt.NDArray[np.int64], *, compared: bool = False
    ) -> None:
        self.style = style
        self.compared = compared
        self.shown: Bytes = np.array(
            [255 * (value != 0 and int(value) not in style.hidden) for value in values], np.uint8
        )
        self.all_shown = not style.hidden
        colours = np.array([style.colour(int(value)) for value in values], np.uint32)
        self.fill = fill_table(colours, self.shown > 0, style.opacity if style.fill else 0.0)
        self.lines = _line_table(colours)
        lighter = [_mixed(int(colour), 0xFFFFFF, _LIGHTER) for colour in colours]
        self.reference_lines = _line_table(np.array(lighter, np.uint32))

    def visible(self, labels: Bytes) -> Bytes:
        """Return label codes without those of hidden labels."""
        return labels if self.all_shown else labels & self.shown.take(labels, mode="clip")


def grey_table(volume: CodedVolume, window: Window) -> Pixels:
    """Return the RGB32 pixel of every code of `volume` under `window`; blanks are black."""
    grey = volume.values() - (window.level - window.width / 2)
    grey *= 255.0 / max(window.width, 1e-12)
    np.rint(np.clip(grey, 0, 255, out=grey), out=grey)
    if window.inverted:
        np.subtract(255, grey, out=grey)
    table: Pixels = np.nan_to_num(grey, copy=False).astype(np.uint32)
    table *= 0x010101
    table |= OPAQUE
    return table


def fill_table(colours: Pixels, filled: Mask, opacity: float) -> Pixels:
    """Return the RGB32 pixel of every (label code, grey): row 0 and rows not filled stay grey."""
    # 16 bits are enough for a product of two bytes, and much quicker to divide.
    alpha = np.where(filled, round(opacity * 255), 0).astype(np.uint16)[:, np.newaxis]
    grey = np.arange(256, dtype=np.uint16)[np.newaxis] * (255 - alpha) + 127
    table = np.full((len(colours), 256), OPAQUE, np.uint32)
    for shift in (16, 8, 0):
        colour = (colours >> shift & 0xFF).astype(np.uint16)[:, np.newaxis]
        table |= ((grey + colour * alpha) // 255).astype(np.uint32) << shift
    return table


@dataclass(frozen=True, slots=True, eq=False)
class LabelSlice:
    """Label codes (rows, columns) and the rows and columns that hold a label."""

    codes: Bytes
    box: tuple[slice, slice]

    def thinned(self, step: tuple[int, int]) -> LabelSlice:
        """Leave rows and columns out as `slice_pixels` is given them."""
        if step == (1, 1):
            return self
        down, across = step
        rows, columns = (
            slice(side.start // by, -(-side.stop // by))
            for side, by in zip(self.box, step, strict=True)
        )
        return LabelSlice(self.codes[::down, ::across], (rows, columns))


class Scratch:
    """Arrays that are filled anew for every slice.

    A fresh array of a megabyte costs as much as its filling, because the system clears its pages.
    """

    def __init__(self) -> None:
        self._held: dict[str, Array] = {}

    def array(self, name: str, shape: tuple[int, int], dtype: type[np.generic]) -> Array:
        """Return the array of a name, whatever is in it; valid until it is asked for again."""
        size = shape[0] * shape[1]
        if size > _MOST_HELD:
            return np.empty(shape, dtype)
        held = self._held.get(name)
        if held is None or held.size < size:
            held = self._held[name] = np.empty(size, dtype)
        return held[:size].reshape(shape)

    def compact(self, name: str, array: Array) -> Array:
        """Return an array in one piece: itself or its copy here."""
        if array.flags.c_contiguous:
            return array
        copy = self.array(name + array.dtype.char, array.shape, array.dtype.type)
        np.copyto(copy, array)
        return copy


def label_slice(codes: Array, box: tuple[slice, slice] | None = None) -> LabelSlice | None:
    """Look where a slice of label codes holds labels, unless `box` tells; None when nowhere."""
    box = label_box(codes) if box is None else box
    return None if box is None else LabelSlice(codes, box)


def slice_pixels(
    codes: Array,
    grey: Pixels,
    labels: LabelSlice | None,
    fill: Pixels,
    *,
    step: tuple[int, int] = (1, 1),
    scratch: Scratch | None = None,
    out: Scratch | None = None,
) -> Pixels:
    """Turn a slice of image codes into RGB32 pixels, with the fill of `labels` over them.

    Only every `step`-th row and column is taken. The pixels lie in `out` and are valid until it is
    used for another slice; `scratch` may serve for all.
    """
    scratch = Scratch() if scratch is None else scratch
    out = scratch if out is None else out
    codes = codes[:: step[0]]
    if step[1] > 1:
        codes = _every(codes, step[1], scratch)
    # numpy looks codes up from one piece in two thirds of the time.
    codes = scratch.compact("codes", codes)
    pixels: Pixels = out.array("pixels", codes.shape, np.uint32)
    # Codes never exceed their table; "wrap" is the quickest way to tell numpy so.
    grey.take(codes, mode="wrap", out=pixels)
    if labels is not None:
        labels = labels.thinned(step)
        part = pixels[labels.box]
        index = labels.codes[labels.box].astype(np.uint16)
        index <<= 8
        index |= part.astype(np.uint8)  # the lowest byte: blue is as good as any of a grey
        part[...] = fill.reshape(-1).take(index, mode="wrap")
    return pixels


def _every(codes: Array, step: int, scratch: Scratch) -> Array:
    """Return every `step`-th column of a slice of codes."""
    rows, columns = codes.shape
    pair = _PAIRS.get(codes.dtype)
    if step != 2 or pair is None or columns % 2 or sys.byteorder != "little":
        # Rows first: leaving columns out far away in memory takes twice as long.
        return scratch.compact("rows", codes)[:, ::step]
    if codes.strides[1] != codes.itemsize:
        codes = scratch.compact("rows", codes)
    # A cast that keeps the first of two neighbours is four times as quick as leaving one out.
    halved = scratch.array("halved" + codes.dtype.char, (rows, columns // 2), codes.dtype.type)
    np.copyto(halved, codes.view(pair), casting="unsafe")
    return halved


def label_box(labels: Bytes) -> tuple[slice, slice] | None:
    """Return the rows and columns that hold a label; None when there is none."""
    rows = np.flatnonzero(labels.max(axis=1))
    if not rows.size:
        return None
    between = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(labels[between].max(axis=0))
    return between, slice(int(columns[0]), int(columns[-1]) + 1)


class ScreenAxis:
    """Where rows (or columns) of a slice lie on the screen, in device pixels.

    `start` is the screen position of the first edge, `scale` the pixels of one row and `pixels`
    the length of the screen.
    """

    def __init__(self, *, start: float, scale: float, pixels: int) -> None:
        self._start, self._scale = start, scale
        self.pixels = pixels
        centres = np.arange(-CONTOUR_PIXELS, pixels + CONTOUR_PIXELS) + 0.5
        self._index: npt.NDArray[np.intp] = np.floor((centres - start) / scale).astype(np.intp)

    def span(self, rows: slice) -> tuple[int, int]:
        """Return the first pixel and one past the last of `rows` with a contour's margin."""
        first = math.floor(self._start + rows.start * self._scale) - CONTOUR_PIXELS
        last = math.ceil(self._start + rows.stop * self._scale) + CONTOUR_PIXELS
        return max(first, -CONTOUR_PIXELS), min(last, self.pixels + CONTOUR_PIXELS)

    def index(self, first: int, last: int) -> npt.NDArray[np.intp]:
        """Return the row under the centre of each pixel of a span, also beyond the slice."""
        return self._index[first + CONTOUR_PIXELS : last + CONTOUR_PIXELS]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenPart:
    """Premultiplied ARGB pixels whose first lies at (left, top) of the screen."""

    left: int
    top: int
    pixels: Pixels


def line_parts(
    prediction: LabelSlice | None,
    reference: LabelSlice | None,
    rows: ScreenAxis,
    columns: ScreenAxis,
    paint: OverlayPaint,
) -> list[ScreenPart]:
    """Draw contours and errors of label slices (rows, columns) at screen resolution.

    The prediction has solid lines, the reference lighter dashed ones over it, so that both can
    be told apart without colour; with errors, false positives and false negatives are
    hatched in opposite directions. None is a slice without labels.
    """
    style = paint.style
    if not style.contour and not (style.errors and paint.compared):
        return []
    boxes = [labels.box for labels in (prediction, reference) if labels is not None]
    if not boxes:
        return []
    box = (_union(boxes, 0), _union(boxes, 1))
    place = rows.span(box[0]), columns.span(box[1])
    if place[0][0] >= place[0][1] or place[1][0] >= place[1][1]:
        return []
    predicted, referenced = (
        None if labels is None else paint.visible(_on_screen(labels, box, place, rows, columns))
        for labels in (prediction, reference)
    )
    layers: list[tuple[Bytes, Pixels]] = []
    under = None if predicted is None or not style.contour else _contour(predicted)
    if style.errors and paint.compared:
        errors = _errors(predicted, referenced, place)
        under = errors if under is None else np.where(under > 0, under, errors)
    if under is not None:
        layers.append((under, paint.lines))
    if referenced is not None and style.contour:
        line = _contour(referenced)
        if paint.compared:
            layers.append((line * _stripes(place, _DASH, _DASH_LINE), paint.reference_lines))
        else:
            layers.append((line, paint.lines))
    return [
        ScreenPart(left=place[1][0], top=place[0][0], pixels=lines.take(codes, mode="wrap"))
        for codes, lines in layers
    ]


_Place = tuple[tuple[int, int], tuple[int, int]]


def _union(boxes: list[tuple[slice, slice]], axis: int) -> slice:
    return slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))


def _on_screen(
    labels: LabelSlice,
    box: tuple[slice, slice],
    place: _Place,
    rows: ScreenAxis,
    columns: ScreenAxis,
) -> Bytes:
    height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
    framed = np.zeros((height + 2, width + 2), np.uint8)
    framed[1:-1, 1:-1] = labels.codes[box]  # what lies beyond the box reads its empty frame
    row = rows.index(*place[0]) - (box[0].start - 1)
    column = columns.index(*place[1]) - (box[1].start - 1)
    # Columns first: there are fewer rows to gather from, and whole rows are then copied.
    on_screen: Bytes = framed.take(column, axis=1, mode="clip").take(row, axis=0, mode="clip")
    return on_screen


def _contour(labels: Bytes) -> Bytes:
    """Return the codes of a contour inside each label, and the casing's on the empty side.

    The array must have a margin of `CONTOUR_PIXELS` that nobody sees: neighbours are compared
    along the flattened array, which is three times as fast as row by row and lets the end of a
    row meet the start of the next there.
    """
    flat, row = labels.reshape(-1), labels.shape[1]
    across, down = flat[:-1] != flat[1:], flat[:-row] != flat[row:]
    near = np.zeros(flat.shape, bool)
    near[:-1] = across
    near[1:] |= across
    near[:-row] |= down
    near[row:] |= down
    wide = near.copy()  # and the second pixel from each border
    wide[:-2] |= across[1:]
    wide[2:] |= across[:-1]
    wide[: -2 * row] |= down[row:]
    wide[2 * row :] |= down[:-row]
    codes = flat * wide.view(np.uint8)
    near &= flat == 0
    codes |= np.negative(near.view(np.uint8))  # 255, the code of the casing
    return codes.reshape(labels.shape)


def _errors(predicted: Bytes | None, referenced: Bytes | None, place: _Place) -> Bytes:
    (top, bottom), (left, right) = place
    empty = np.zeros((bottom - top, right - left), np.uint8)
    predicted = empty if predicted is None else predicted
    referenced = empty if referenced is None else referenced
    wrong = (predicted != referenced).view(np.uint8)
    surplus = (predicted > 0).view(np.uint8) * wrong * _stripes(place, _HATCH, _HATCH_LINE)
    missed = (referenced > 0).view(np.uint8) * wrong
    missed *= _stripes(place, _HATCH, _HATCH_LINE, falling=True)
    # Where one label stands for another both are true: the lines of one cross those of the other.
    codes: Bytes = np.where(surplus > 0, np.uint8(_FALSE_POSITIVE), missed * _FALSE_NEGATIVE)
    return codes


def _stripes(place: _Place, period: int, line: int, *, falling: bool = False) -> Bytes:
    """Return ones on diagonal stripes that stay where they are on the screen."""
    (top, bottom), (left, right) = place
    height, width = bottom - top, right - left
    first = top - right + 1 if falling else top + left
    run = (np.arange(first, first + height + width - 1) % period < line).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(run, width)
    return windows[:, ::-1] if falling else windows


def _line_table(colours: Pixels) -> Pixels:
    table = np.zeros(256, np.uint32)
    table[1 : len(colours)] = colours[1:] | OPAQUE
    table[_CASING] = OPAQUE
    for code, colour in ((_FALSE_POSITIVE, FALSE_POSITIVE), (_FALSE_NEGATIVE, FALSE_NEGATIVE)):
        table[code] = _premultiplied(colour, _ERROR_OPACITY)
    return table


def _premultiplied(colour: int, opacity: float) -> int:
    alpha = round(opacity * 255)
    parts = ((colour >> shift & 0xFF) * alpha // 255 << shift for shift in (16, 8, 0))
    return alpha << 24 | sum(parts)


@lru_cache(maxsize=1024)
def _mixed(colour: int, other: int, share: float) -> int:
    """Return `colour` with a share of `other` in it."""
    return sum(
        round((colour >> shift & 0xFF) * (1 - share) + (other >> shift & 0xFF) * share) << shift
        for shift in (16, 8, 0)
    )
