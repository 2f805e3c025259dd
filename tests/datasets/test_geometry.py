"""Letters and flips, over all 48 orientations, against SimpleITK's physical points."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import SimpleITK

from app.datasets.geometry import (
    Convention,
    Difference,
    Geometry,
    Plane,
    differences,
    is_oblique,
    is_orthonormal,
    letters_of,
    orientation_code,
    plane_view,
)

# Columns of a direction matrix: each index axis along one patient axis, either way.
ORIENTATIONS = [
    tuple(tuple(signs[c] * float(axes[c] == r) for c in range(3)) for r in range(3))
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]
SHAPE = (4, 5, 6)
SPACING = (3.0, 0.5, 0.7)


def geometry(direction, **changes) -> Geometry:
    return Geometry(
        **{
            "shape": SHAPE,
            "spacing_mm": SPACING,
            "origin_mm": (12.0, -30.0, 7.5),
            "direction": direction,
            **changes,
        }
    )


def as_image(grid: Geometry) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.zeros(grid.shape, np.uint8))
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(np.asarray(grid.direction).ravel().tolist())
    return image


def turned(axis: int, degrees: float):
    angle = math.radians(degrees)
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
    return tuple(tuple(row) for row in matrix.tolist())


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_points_agree_with_simpleitk(direction):
    grid = geometry(direction)
    image = as_image(grid)
    for voxel in ((0, 0, 0), (1, 2, 3), (3, 4, 5)):
        point = image.TransformIndexToPhysicalPoint(voxel[::-1])
        assert grid.point_of(voxel) == pytest.approx(point)
        assert grid.voxel_of(point) == pytest.approx(voxel)


@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_the_code_agrees_with_simpleitk(direction):
    expected = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(
        np.asarray(direction).ravel().tolist()
    )
    assert orientation_code(geometry(direction)) == expected


# Towards which side of the patient each edge lies: (sign, LPS axis) of the way left to right
# and top to bottom, when radiological.
EDGES = {
    Plane.AXIAL: ("RL", "AP"),
    Plane.CORONAL: ("RL", "SI"),
    Plane.SAGITTAL: ("AP", "SI"),
}
AXIS_OF = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


@pytest.mark.parametrize("plane", Plane)
@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_every_edge_shows_the_side_of_its_letter(direction, plane):
    grid = geometry(direction)
    image = as_image(grid)
    view = plane_view(grid, plane)
    horizontal, vertical = EDGES[plane]
    assert (view.left + view.right, view.top + view.bottom) == (horizontal, vertical)

    rows, columns = grid.shape[view.row_axis], grid.shape[view.column_axis]

    def point(number: int, row: int, column: int) -> np.ndarray:
        voxel = view.voxel_at(grid.shape, number, row, column)
        return np.asarray(image.TransformIndexToPhysicalPoint(voxel[::-1]))

    def way(first: np.ndarray, second: np.ndarray, letter: str) -> float:
        axis, sign = AXIS_OF[letter]
        return sign * (second - first)[axis]

    assert way(point(0, 0, 0), point(0, 0, columns - 1), view.right) > 0
    assert way(point(0, 0, columns - 1), point(0, 0, 0), view.left) > 0
    assert way(point(0, 0, 0), point(0, rows - 1, 0), view.bottom) > 0
    towards = {Plane.AXIAL: "S", Plane.CORONAL: "A", Plane.SAGITTAL: "R"}[plane]
    assert way(point(0, 0, 0), point(1, 0, 0), towards) > 0


@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_an_asymmetric_phantom_looks_the_same_however_it_is_stored(direction):
    reference = np.arange(4 * 5 * 6, dtype=np.int32).reshape(SHAPE)  # stored as LPS
    image = SimpleITK.GetImageFromArray(reference)
    code = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(
        np.asarray(direction).ravel().tolist()
    )
    stored = SimpleITK.DICOMOrient(image, code)
    array = SimpleITK.GetArrayFromImage(stored)
    grid = geometry(
        tuple(tuple(row) for row in np.reshape(stored.GetDirection(), (3, 3)).tolist()),
        shape=array.shape,
        spacing_mm=stored.GetSpacing()[::-1],
        origin_mm=stored.GetOrigin(),
    )
    assert grid.direction == direction
    # LPS: x grows to the left, y to posterior, z to superior.
    expected = {
        Plane.AXIAL: lambda number: reference[number],
        Plane.CORONAL: lambda number: reference[::-1, 4 - number, :],
        Plane.SAGITTAL: lambda number: reference[::-1, :, 5 - number],
    }
    for plane, picture in expected.items():
        view = plane_view(grid, plane)
        for number in (0, 2):
            np.testing.assert_array_equal(view.cut(array, number), picture(number))


@pytest.mark.parametrize("plane", Plane)
@pytest.mark.parametrize("direction", ORIENTATIONS[::7])
def test_pixels_and_voxels_are_inverse_and_match_the_picture(direction, plane):
    grid = geometry(direction)
    array = np.arange(math.prod(SHAPE)).reshape(SHAPE)
    view = plane_view(grid, plane)
    for voxel in itertools.product(*(range(length) for length in SHAPE)):
        number, row, column = view.pixel_of(SHAPE, voxel)
        assert view.voxel_at(SHAPE, number, row, column) == voxel
        assert view.cut(array, number)[row, column] == array[voxel]


def test_a_cut_is_a_view_and_copies_nothing():
    array = np.zeros(SHAPE)
    for plane in Plane:
        assert np.shares_memory(plane_view(geometry(ORIENTATIONS[5]), plane).cut(array, 0), array)


@pytest.mark.parametrize("direction", ORIENTATIONS[::5])
def test_neurological_swaps_left_and_right_only(direction):
    grid = geometry(direction)
    for plane in Plane:
        radiological = plane_view(grid, plane)
        neurological = plane_view(grid, plane, Convention.NEUROLOGICAL)
        mirrored = plane is not Plane.SAGITTAL
        assert (neurological.left == radiological.left) is not mirrored
        assert (neurological.flip_columns == radiological.flip_columns) is not mirrored
        assert (neurological.top, neurological.flip_rows, neurological.flip_slices) == (
            radiological.top,
            radiological.flip_rows,
            radiological.flip_slices,
        )


def test_an_unknown_orientation_has_no_letters_and_no_flips():
    grid = geometry(ORIENTATIONS[-1], known=False)
    assert orientation_code(grid) is None
    for plane, axes in ((Plane.AXIAL, (0, 1, 2)), (Plane.CORONAL, (1, 0, 2))):
        view = plane_view(grid, plane)
        assert (view.left, view.right, view.top, view.bottom) == ("", "", "", "")
        assert not (view.flip_rows)
        assert not (view.flip_columns)
        assert not (view.flip_slices)
        assert (view.slice_axis, view.row_axis, view.column_axis) == axes


@pytest.mark.parametrize(
    ("vector", "letters"),
    [
        ((1.0, 0.0, 0.0), "L"),
        ((0.0, -2.0, 0.0), "A"),
        ((0.0, 0.999, 0.03), "P"),  # 1.7 degrees: as good as straight
        ((0.0, -0.993, -0.112), "AI"),  # a real head, MR_Gd: 6.4 degrees
        ((-0.8, 0.0, 0.6), "RS"),
        ((0.5, 0.5, 0.7071), "SL"),
    ],
)
def test_letters_of_a_direction(vector, letters):
    assert letters_of(vector) == letters


@pytest.mark.parametrize(("degrees", "oblique"), [(0, False), (4, False), (6, True), (44, True)])
def test_oblique_axes_get_two_letters_but_the_code_stays_clear(degrees, oblique):
    grid = geometry(turned(0, degrees))
    assert is_oblique(grid) is oblique
    assert orientation_code(grid) == "LPS"
    assert len(plane_view(grid, Plane.SAGITTAL).top) == (2 if oblique else 1)
    assert is_orthonormal(grid.direction)


def test_at_45_degrees_no_axis_is_named_twice():
    matrix = np.asarray(turned(2, 45)) @ np.asarray(turned(0, 45))
    grid = geometry(tuple(tuple(row) for row in matrix.tolist()))
    named = {frozenset(p) for p in ("LR", "PA", "SI")}
    assert {next(p for p in named if letter in p) for letter in orientation_code(grid)} == named


def test_sheared_axes_are_not_orthonormal():
    assert not is_orthonormal(((1.0, 0.1, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        ({"shape": (4, 5, 7)}, (Difference.SHAPE,)),
        ({"spacing_mm": (3.0, 0.5, 0.70001)}, (Difference.SPACING,)),  # stock nnU-Net stops here
        ({"spacing_mm": (3.0, 0.5, 0.7000001)}, ()),
        ({"origin_mm": (12.0, -30.0, 7.49)}, (Difference.ORIGIN,)),
        ({"origin_mm": (12.0, -30.0, 7.499)}, ()),  # rounding of a float32 header
        ({"direction": turned(0, 0.2)}, (Difference.DIRECTION,)),
        ({"direction": turned(0, 0.02)}, ()),
        (
            {"shape": (4, 5, 7), "spacing_mm": (1.0, 1.0, 1.0)},
            (Difference.SHAPE, Difference.SPACING),
        ),
    ],
)
def test_differences_of_two_grids(changes, expected):
    plain = geometry(turned(0, 0))
    assert differences(plain, geometry(**{"direction": turned(0, 0), **changes})) == expected


def test_the_volume_of_a_voxel():
    assert geometry(ORIENTATIONS[0]).voxel_ml == pytest.approx(3.0 * 0.5 * 0.7 / 1000)


def test_the_height_and_width_of_a_pixel():
    grid = geometry(ORIENTATIONS[0])
    assert plane_view(grid, Plane.CORONAL).pixel_mm(grid) == (3.0, 0.7)
