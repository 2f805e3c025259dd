"""Rasterised contours against another rule for the same question: the winding of the angle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from app.datasets.contours import inside


def turns(corners, x, y) -> int:
    """How many times the polygon winds around a point, by summing angles."""
    total = 0.0
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        angle = math.atan2(by - y, bx - x) - math.atan2(ay - y, ax - x)
        while angle > math.pi:
            angle -= 2 * math.pi
        while angle < -math.pi:
            angle += 2 * math.pi
        total += angle
    return round(total / (2 * math.pi))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(2.0, 14.0), min_size=3, max_size=12),
    st.floats(-3.0, 22.0),
    st.floats(-3.0, 22.0),
)
def test_a_star_holds_the_centres_around_which_it_winds(radii, middle_x, middle_y):
    angles = np.linspace(0.1, 0.1 + 2 * np.pi, len(radii), endpoint=False)
    corners = [
        (middle_x + r * math.cos(a), middle_y + r * math.sin(a))
        for r, a in zip(radii, angles, strict=True)
    ]
    filled = inside(corners, (17, 21))
    for row in range(17):
        for column in range(21):
            assert filled[row, column] == bool(turns(corners, column, row) % 2), (row, column)


def test_a_box_around_voxels_holds_just_them():
    filled = inside([(1.5, 2.5), (5.5, 2.5), (5.5, 4.5), (1.5, 4.5)], (8, 9))
    expected = np.zeros((8, 9), dtype=bool)
    expected[3:5, 2:6] = True
    assert (filled == expected).all()


def test_centres_on_a_shared_edge_belong_to_one_side_only():
    left = inside([(1, 1), (4, 1), (4, 6), (1, 6)], (8, 9))
    right = inside([(4, 1), (7, 1), (7, 6), (4, 6)], (8, 9))
    assert not (left & right).any()
    assert (left | right).sum() == inside([(1, 1), (7, 1), (7, 6), (1, 6)], (8, 9)).sum() == 30
    assert left[1, 1]
    assert not left[6, 1]


def test_noise_of_a_matrix_inverse_does_not_move_corners():
    corners = np.array([(1, 1), (4, 1), (4, 6), (1, 6)], dtype=float)
    assert (inside(corners, (8, 9)) == inside(corners + 3e-12, (8, 9))).all()
    assert (inside(corners, (8, 9)) == inside(corners - 3e-12, (8, 9))).all()


@pytest.mark.parametrize(
    "corners", [[(3, 3), (3, 3), (3, 3)], [(1, 2), (7, 2), (4, 2)], [(-9, -9), (-5, -9), (-7, -5)]]
)
def test_lines_points_and_what_lies_outside_hold_nothing(corners):
    assert not inside(corners, (8, 9)).any()
