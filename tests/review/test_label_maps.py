"""Masks and boxes of label maps. Which grids are refused: tests/review/test_scores.py."""

from __future__ import annotations

import numpy as np
import pytest

from app.datasets.geometry import Geometry
from app.datasets.images import Volume
from app.review.label_maps import LabelMap, bounding_box, mask_of, require_one_grid, voxel_ml


def test_a_volume_is_a_label_map():
    array = np.zeros((2, 3, 4), np.uint8)
    volume: LabelMap = Volume(
        array=array, geometry=Geometry(shape=array.shape, spacing_mm=(1.0, 1.0, 1.0))
    )
    require_one_grid("a", volume, volume)


@pytest.mark.parametrize(
    ("value", "expected"), [(1, [0, 1, 0, 0]), ((1, 2), [0, 1, 1, 0]), ((3, 9), [0, 0, 0, 1])]
)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_where_a_label_or_region_lies(value, expected, kind):
    array = np.array([[[0, 1, 2, 3]]], kind)
    assert mask_of(array, value).ravel().tolist() == [bool(x) for x in expected]


def test_the_box_is_tight():
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) is None
    mask[1, 2, 6] = mask[3, 2, 0] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(0, 7))


def test_a_voxel_in_millilitres():
    assert voxel_ml((5.0, 2.0, 10.0)) == pytest.approx(0.1)
