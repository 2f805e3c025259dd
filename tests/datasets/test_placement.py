"""Voxels go where their centres lie, however the array is turned; other grids are refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from app.datasets.geometry import Geometry
from app.datasets.placement import OtherGrid, landing, lies_within, place, voxels_of

TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
GRID = Geometry(
    shape=(4, 5, 6),
    spacing_mm=(3.0, 0.8, 0.7),
    origin_mm=(10.0, -20.0, 30.0),
    direction=tuple(map(tuple, TURN.tolist())),
)
AXES = (TURN * np.array([0.7, 0.8, 3.0])).T[::-1]  # the way along z, y, x


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
def test_a_turned_and_flipped_copy_comes_back(order, flips):
    source = np.random.default_rng(1).random(GRID.shape) > 0.6
    array = np.transpose(source, order)
    steps = AXES[list(order)].copy()
    first = np.array([0, 0, 0])
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            first[order[axis]] = GRID.shape[order[axis]] - 1
            steps[axis] *= -1
    mask = np.zeros(GRID.shape, dtype=bool)
    outside = place(
        array, origin_mm=GRID.point_of(tuple(first)), steps_mm=steps, onto=GRID, mask=mask
    )
    assert outside == 0
    assert (mask == source).all()


def test_a_crop_lands_in_its_place_and_what_hangs_over_is_counted():
    mask = np.zeros(GRID.shape, dtype=bool)
    outside = place(
        np.ones((2, 2, 3), dtype=bool),
        origin_mm=GRID.point_of((3, 1, 4)),
        steps_mm=AXES,
        onto=GRID,
        mask=mask,
    )
    expected = np.zeros(GRID.shape, dtype=bool)
    expected[3, 1:3, 4:6] = True
    assert (mask == expected).all()
    assert outside == 12 - 4


@pytest.mark.parametrize(
    ("steps", "start"),
    [
        (AXES * 2, (0, 0, 0)),
        (AXES * 1.1, (0, 0, 0)),
        (AXES, (0, 0.4, 0)),
        (AXES @ TURN.T, (0, 0, 0)),
    ],
    ids=["coarser", "stretched", "shifted", "rotated"],
)
def test_another_grid_is_refused(steps, start):
    with pytest.raises(OtherGrid, match="another voxel grid than its image"):
        landing((4, 5, 6), origin_mm=GRID.point_of(start), steps_mm=steps, onto=GRID)


def test_rounded_decimals_are_no_other_grid():
    where = landing(
        (4, 5, 6), origin_mm=np.round(GRID.origin_mm, 2), steps_mm=np.round(AXES, 4), onto=GRID
    )
    ends = where.voxels(np.array([[0, 0, 0], [3, 4, 5]]))
    assert ends.tolist() == [[0, 0, 0], [3, 4, 5]]
    assert lies_within(ends, GRID).all()
    assert not lies_within(ends + np.array([1, 0, 0]), GRID)[1]


def test_points_become_voxels_as_the_grid_says():
    points = [GRID.point_of((1.5, 2.25, 3.0)), GRID.origin_mm]
    assert np.allclose(voxels_of(points, GRID), [[3.0, 2.25, 1.5], [0, 0, 0]])
