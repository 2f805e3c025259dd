from __future__ import annotations

import numpy as np
import pytest

from app.datasets.geometry import IDENTITY, Convention, Geometry, Plane, plane_view
from app.ui.widgets.rendering import label_box
from app.ui.widgets.viewer_volumes import MOST_LABELS, CodedVolume, label_volumes

random = np.random.default_rng(11)


@pytest.mark.parametrize(
    "dtype",
    [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64],
)
def test_every_voxel_type_keeps_whole_values(dtype):
    lowest = 0 if np.dtype(dtype).kind == "u" else -100
    array = random.integers(lowest, 120, (3, 4, 5)).astype(dtype)
    coded = CodedVolume(array)
    assert [coded.value_at(tuple(at)) for at in np.argwhere(np.ones(array.shape))] == list(
        array.ravel()
    )


def test_bits_are_zero_and_one():
    coded = CodedVolume(np.array([[[True, False]]]))
    assert (coded.value_at((0, 0, 0)), coded.value_at((0, 0, 1))) == (1.0, 0.0)


def test_a_wide_range_is_spread_with_an_error_below_half_a_step():
    array = random.normal(0, 1e6, (4, 9, 9))
    coded = CodedVolume(array)
    values = coded.values()[coded.codes]
    assert np.abs(values - array).max() <= (array.max() - array.min()) / 65535 / 2 * 1.001


def test_int16_is_not_copied():
    array = np.zeros((2, 3, 4), np.int16)
    assert np.shares_memory(CodedVolume(array).codes, array)


def test_nan_has_no_value_and_infinities_lie_at_the_ends():
    array = np.array([[[0.25, np.nan, np.inf, -np.inf, 0.75]]])
    coded = CodedVolume(array)
    values = [coded.value_at((0, 0, x)) for x in range(5)]
    assert np.isnan(values[1])
    assert values[0] == pytest.approx(0.25)
    assert values[2] == pytest.approx(0.75)
    assert values[3] == pytest.approx(0.25)


@pytest.mark.parametrize("value", [0.0, -3.5, 7.0, np.nan])
def test_a_constant_image_has_a_window(value):
    coded = CodedVolume(np.full((3, 3, 3), value))
    window = coded.automatic_window()
    assert window.width > 0
    assert np.isfinite(window.level)


def test_the_automatic_window_spans_the_percentiles_of_what_is_not_minimal():
    array = np.full((80, 80, 80), -1000, np.int16)
    array[8:72, 8:72, 8:72] = random.integers(0, 1000, (64, 64, 64))
    window = CodedVolume(array).automatic_window()
    sample = array[::8, ::8, ::8]
    low, high = np.percentile(sample[sample > -1000], (0.5, 99.5))
    assert (window.width, window.level) == pytest.approx((high - low, (high + low) / 2))


@pytest.mark.parametrize("plane", list(Plane))
def test_slices_are_the_same_before_while_and_after_the_copy(plane):
    array = random.integers(-500, 500, (5, 6, 7)).astype(np.int16)
    coded = CodedVolume(array)
    view = plane_view(
        Geometry(shape=array.shape, spacing_mm=(1, 1, 1), direction=IDENTITY),
        plane,
        Convention.RADIOLOGICAL,
    )
    wanted = [view.cut(coded.codes, n).copy() for n in range(array.shape[view.slice_axis])]
    for slices in (0, 2, None):
        ready = coded.prepare(slices)
        for number, cut in enumerate(wanted):
            np.testing.assert_array_equal(coded.cut(view, number), cut)
    assert ready
    assert coded.bytes_held == 2 * array.nbytes
    coded.release()
    assert coded.bytes_held == array.nbytes


def test_labels_of_any_type_keep_their_values():
    array = np.zeros((2, 3, 4), np.int32)
    array[0, 1, 2], array[1, 0, 0], array[1, 2, 3] = 4711, -2, 255
    (labels,) = label_volumes([array])
    assert labels is not None
    assert labels.codes.dtype == np.uint8
    np.testing.assert_array_equal(labels.values[labels.codes], array)


def test_fractions_are_rounded_and_nan_is_background():
    (labels,) = label_volumes([np.array([[[0.6, 1.4, np.nan, 2.0]]])])
    assert labels is not None
    assert [labels.label_at((0, 0, x)) for x in range(4)] == [1, 1, 0, 2]


def test_both_maps_share_their_codes():
    first = np.array([[[0, 300, 5]]], np.int16)
    second = np.array([[[5, 0, 300]]], np.uint16)
    one, two = label_volumes([first, second])
    assert one is not None
    assert two is not None
    assert one.codes[0, 0, 1] == two.codes[0, 0, 2]
    assert one.codes[0, 0, 2] == two.codes[0, 0, 0]


def test_bytes_are_not_copied_and_255_is_no_casing():
    array = np.zeros((2, 2, 2), np.uint8)
    (labels,) = label_volumes([array])
    assert labels is not None
    assert np.shares_memory(labels.codes, array)
    array[0, 0, 0] = 255
    (labels,) = label_volumes([array])
    assert labels is not None
    assert labels.codes.max() <= MOST_LABELS
    assert labels.label_at((0, 0, 0)) == 255


def test_more_labels_than_codes_share_the_last():
    array = np.arange(400).reshape(1, 20, 20)
    (labels,) = label_volumes([array])
    assert labels is not None
    assert labels.codes.max() == MOST_LABELS
    assert labels.label_at((0, 12, 12)) == 252


def test_voxels_are_counted_with_the_copy():
    array = random.integers(0, 4, (6, 5, 4)).astype(np.uint8)
    (labels,) = label_volumes([array])
    assert labels is not None
    while not labels.prepare(2):
        pass
    assert [int(labels.counts[value]) for value in range(4)] == [
        int((array == value).sum()) for value in range(4)
    ]
    labels.release()
    labels.prepare()
    assert labels.counts.sum() == array.size


@pytest.mark.parametrize("flips", [(False, False, False), (True, True, True), (True, False, True)])
@pytest.mark.parametrize("plane", list(Plane))
def test_the_box_of_a_slice_is_told_without_looking_at_it(plane, flips):
    array = np.zeros((5, 6, 7), np.uint8)
    array[1, 2, 3] = array[3, 4, 2] = array[3, 1, 5] = 1
    signs = [-1.0 if flip else 1.0 for flip in flips]
    direction = tuple(
        tuple(signs[row] * (row == column) for column in range(3)) for row in range(3)
    )
    view = plane_view(Geometry(shape=(5, 6, 7), spacing_mm=(1, 1, 1), direction=direction), plane)
    (labels,) = label_volumes([array])
    with pytest.raises(ValueError, match="looked through"):
        labels.box(view, 0)
    labels.prepare()
    for number in range(array.shape[view.slice_axis]):
        assert labels.box(view, number) == label_box(view.cut(array, number))
