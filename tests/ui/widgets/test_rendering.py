from __future__ import annotations

import numpy as np
import pytest

from app.ui.widgets.rendering import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    GreyPaint,
    OverlayPaint,
    OverlayStyle,
    Scratch,
    ScreenAxis,
    label_colour,
    label_slice,
    line_parts,
    slice_pixels,
)
from app.ui.widgets.viewer_volumes import CodedVolume, Window

random = np.random.default_rng(5)
VALUES = np.arange(10)


def naive_grey(value: float, window: Window) -> int:
    share = (value - (window.level - window.width / 2)) / window.width
    grey = round(min(max(share, 0), 1) * 255)
    return 255 - grey if window.inverted else grey


def axis(scale: int, pixels: int, start: int = 0) -> ScreenAxis:
    return ScreenAxis(start=start, scale=scale, pixels=pixels)


def painted(prediction, reference, style, *, scale=1, start=0, pixels=40, compared=True):
    """Return the ARGB screen that the parts of the lines give."""
    screen = np.zeros((pixels, pixels), np.uint32)
    parts = line_parts(
        None if prediction is None else label_slice(prediction),
        None if reference is None else label_slice(reference),
        axis(scale, pixels, start),
        axis(scale, pixels, start),
        OverlayPaint(style, VALUES, compared=compared),
    )
    for part in parts:
        for row in range(part.pixels.shape[0]):
            for column in range(part.pixels.shape[1]):
                y, x = part.top + row, part.left + column
                if 0 <= y < pixels and 0 <= x < pixels and part.pixels[row, column]:
                    screen[y, x] = part.pixels[row, column]
    return screen


def square(value: int = 1) -> np.ndarray:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:13, 6:14] = value
    return labels


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.float32])
def test_greys_are_those_of_the_formula(dtype, inverted):
    lowest = 0 if np.dtype(dtype).kind == "u" else -100
    array = random.integers(lowest, 120, (1, 9, 8)).astype(dtype)
    window = Window(width=90, level=33, inverted=inverted)
    volume = CodedVolume(array)
    pixels = slice_pixels(
        volume.codes[0], GreyPaint(volume, window).table, None, np.zeros((1, 256), np.uint32)
    )
    for value, pixel in zip(array.ravel(), pixels.ravel(), strict=True):
        grey = naive_grey(float(value), window)
        assert pixel >> 24 == 0xFF
        assert all(abs(int(pixel >> shift & 0xFF) - grey) <= 1 for shift in (0, 8, 16))


def test_a_flipped_slice_is_read_as_it_is_shown():
    volume = CodedVolume(np.arange(6, dtype=np.uint8).reshape(1, 2, 3))
    grey = GreyPaint(volume, Window(width=255, level=127.5)).table
    pixels = slice_pixels(volume.codes[0][::-1, ::-1], grey, None, np.zeros((1, 256), np.uint32))
    assert (pixels & 0xFF).tolist() == [[5, 4, 3], [2, 1, 0]]


def test_nan_is_black():
    volume = CodedVolume(np.array([[[np.nan, 1.0, 2.0]]]))
    table = GreyPaint(volume, Window(width=1, level=1.5)).table
    assert table[volume.codes[0, 0, 0]] == 0xFF000000


def test_the_fill_mixes_colour_and_grey():
    volume = CodedVolume(random.integers(0, 256, (1, 20, 20)).astype(np.uint8))
    grey = GreyPaint(volume, Window(width=255, level=127.5)).table
    style = OverlayStyle(opacity=0.4, hidden=frozenset({2}))
    labels = square(1)
    labels[15:18, 1:4] = 2
    fill = OverlayPaint(style, VALUES).fill
    pixels = slice_pixels(volume.codes[0], grey, label_slice(labels), fill)
    for at in np.ndindex(20, 20):
        value, label = int(volume.codes[0][at]), labels[at]
        for shift in (0, 8, 16):
            colour = label_colour(1) >> shift & 0xFF
            wanted = 0.6 * value + 0.4 * colour if label == 1 else value
            assert abs((int(pixels[at]) >> shift & 0xFF) - wanted) <= 1.5


def test_without_fill_or_labels_nothing_is_mixed():
    assert label_slice(np.zeros((4, 4), np.uint8)) is None
    fill = OverlayPaint(OverlayStyle(fill=False), VALUES).fill
    grey = np.arange(256, dtype=np.uint32) * 0x010101 | 0xFF000000
    assert (fill == grey).all()


@pytest.mark.parametrize(("scale", "start"), [(1, 0), (2, 0), (3, -9), (2, 7)])
def test_contours_are_two_pixels_inside_and_cased_by_one_outside(scale, start):
    style = OverlayStyle()
    pixels = 40
    screen = painted(square(3), None, style, scale=scale, start=start, compared=False)
    colour = label_colour(3) | 0xFF000000
    for y, x in np.ndindex(pixels, pixels):
        # Distances to the edges of the square, positive inside, in pixels.
        inside = min(
            y - (start + 5 * scale), start + 13 * scale - 1 - y,
            x - (start + 6 * scale), start + 14 * scale - 1 - x,
        )  # fmt: skip
        if inside in (0, 1):
            assert screen[y, x] == colour, (y, x)
        elif inside >= 2 or inside < -1:
            assert screen[y, x] == 0, (y, x)
        else:
            beyond_rows = y < start + 5 * scale or y >= start + 13 * scale
            beyond_columns = x < start + 6 * scale or x >= start + 14 * scale
            corner = beyond_rows and beyond_columns
            assert screen[y, x] == (0 if corner else 0xFF000000), (y, x)


def test_a_label_cut_by_the_edge_of_the_pane_has_no_line_there():
    screen = painted(square(1), None, OverlayStyle(), scale=4, start=-32, compared=False)
    # Rows 8 to 12 of the label are on the screen from its first row on.
    assert screen[0, 10] == 0
    assert screen[(13 * 4 - 32) - 1, 10] != 0


def test_a_label_at_the_edge_of_the_image_has_a_line_there():
    labels = np.zeros((20, 20), np.uint8)
    labels[:, :3] = 1
    screen = painted(labels, None, OverlayStyle(), scale=1, start=5, compared=False)
    assert screen[10, 5] == label_colour(1) | 0xFF000000
    assert screen[10, 4] == 0xFF000000


def test_neighbouring_labels_are_parted_by_their_own_colours():
    labels = np.zeros((20, 20), np.uint8)
    labels[4:16, 4:10], labels[4:16, 10:16] = 1, 2
    screen = painted(labels, None, OverlayStyle(), scale=2, compared=False)
    assert screen[20, 18] == screen[20, 19] == label_colour(1) | 0xFF000000
    assert screen[20, 20] == screen[20, 21] == label_colour(2) | 0xFF000000


def test_hidden_labels_have_neither_line_nor_error():
    style = OverlayStyle(hidden=frozenset({1}), errors=True)
    assert not painted(square(1), square(1) * 0, style).any()


def test_no_contours_when_not_wished():
    assert not painted(square(1), None, OverlayStyle(contour=False), compared=False).any()


def test_the_reference_is_dashed_and_lighter():
    screen = painted(None, square(1), OverlayStyle(), scale=2)
    row = screen[2 * 5, 2 * 6 : 2 * 14]
    assert 0 < (row != 0).sum() < len(row)
    drawn = int(row[row != 0][0])
    assert all((drawn >> s & 0xFF) >= (label_colour(1) >> s & 0xFF) for s in (0, 8, 16))
    assert drawn & 0xFFFFFF != label_colour(1)


def test_errors_are_hatched_in_opposite_directions():
    style = OverlayStyle(errors=True, contour=False)

    def diagonals(screen: np.ndarray) -> tuple[bool, bool]:
        """Say whether stripes keep to rising (row + column) or falling diagonals."""
        mask = screen[12:24, 14:26] != 0
        assert mask.any()
        assert not mask.all()
        rising = bool((mask[1:, :-1] == mask[:-1, 1:]).all())
        falling = bool((mask[1:, 1:] == mask[:-1, :-1]).all())
        return rising, falling

    surplus = painted(square(1), square(1) * 0, style, scale=2)
    missed = painted(square(1) * 0, square(1), style, scale=2)
    assert diagonals(surplus) == (True, False)
    assert diagonals(missed) == (False, True)
    for screen, colour in ((surplus, FALSE_POSITIVE), (missed, FALSE_NEGATIVE)):
        pixel = int(screen[screen != 0][0])
        alpha = pixel >> 24
        for shift in (0, 8, 16):
            assert abs((pixel >> shift & 0xFF) - (colour >> shift & 0xFF) * alpha / 255) <= 1


def test_agreement_has_no_error():
    assert not painted(square(1), square(1), OverlayStyle(errors=True, contour=False)).any()


def test_one_label_for_another_is_both_errors():
    style = OverlayStyle(errors=True, contour=False)
    screen = painted(square(1), square(2), style, scale=2)
    assert len(set(screen[screen != 0].tolist())) == 2


def test_colours_belong_to_the_value_and_do_not_repeat_soon():
    assert label_colour(3) == label_colour(3)
    assert len({label_colour(value) for value in range(1, 25)}) == 24


def test_labels_off_the_screen_are_not_drawn():
    assert not line_parts(
        label_slice(square()), None, axis(1, 40, start=100), axis(1, 40),
        OverlayPaint(OverlayStyle(), VALUES),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("columns", [16, 17])
@pytest.mark.parametrize("step", [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)])
def test_a_thinned_slice_is_every_nth_pixel_of_the_whole(step, columns, dtype):
    volume = CodedVolume(random.integers(0, 255, (1, 21, columns)).astype(dtype))
    codes = volume.codes[0]
    grey = GreyPaint(volume, Window(width=255, level=127)).table
    labels = np.zeros((21, columns), np.uint8)
    labels[3:14, 5:12] = random.integers(0, 3, (11, 7))
    fill = OverlayPaint(OverlayStyle(), VALUES).fill
    whole = slice_pixels(codes, grey, label_slice(labels), fill)
    assert (whole[labels == 0] == grey[codes][labels == 0]).all()
    grown = np.repeat(np.repeat(codes, 3, axis=0), 2, axis=1)  # rows that do not lie side by side
    for source in (codes, grown[::3, ::2], np.asfortranarray(codes)):
        for turned in (np.s_[:, :], np.s_[::-1, :], np.s_[:, ::-1]):
            drawn = label_slice(labels[turned])
            thinned = slice_pixels(source[turned], grey, drawn, fill, step=step)
            assert (thinned == whole[turned][:: step[0], :: step[1]]).all()


def test_arrays_are_used_again_unless_they_are_very_large():
    scratch = Scratch()
    first = scratch.array("a", (10, 10), np.uint32)
    assert np.shares_memory(scratch.array("a", (5, 8), np.uint32), first)
    assert not np.shares_memory(scratch.array("b", (5, 8), np.uint32), first)
    large = scratch.array("a", (2000, 2000), np.uint32)
    assert not np.shares_memory(scratch.array("a", (2000, 2000), np.uint32), large)
