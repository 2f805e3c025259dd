"""Errors of a prediction: found, sorted by size, each with a voxel that lies in it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from app.review.errors import ErrorComponent, ErrorKind, find_errors, worst_slice
from app.review.label_maps import GridsDiffer

LABELS = {"background": 0, "liver": 1, "tumour": 2}
MISSED, ADDED = ErrorKind.MISSED, ErrorKind.ADDED


def label_map(array):
    return SimpleNamespace(
        array=array,
        spacing_mm=(2.0, 1.0, 5.0),
        origin_mm=(0.0, 0.0, 0.0),
        direction=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    )


def pair(shape=(8, 10, 12)):
    return np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)


def errors(true, predicted, labels=LABELS, **changes):
    return find_errors("a", label_map(true), label_map(predicted), labels, **changes)


def test_errors_come_largest_first_with_their_kind_and_place():
    true, predicted = pair()
    true[1, 1:4, 1:4] = 1  # 9 voxels missed
    predicted[6, 8, 2:6] = 1  # 4 voxels added
    true[4, 4, 4] = predicted[4, 4, 4] = 2  # right
    predicted[0, 9, 11] = 2  # 1 voxel added
    assert errors(true, predicted) == (
        ErrorComponent(
            label="liver", kind=MISSED, voxels=9, ml=pytest.approx(0.09), voxel=(1, 2, 2)
        ),
        ErrorComponent(
            label="liver", kind=ADDED, voxels=4, ml=pytest.approx(0.04), voxel=(6, 8, 3)
        ),
        ErrorComponent(
            label="tumour", kind=ADDED, voxels=1, ml=pytest.approx(0.01), voxel=(0, 9, 11)
        ),
    )


def test_a_wrong_label_is_missed_once_and_added_once():
    true, predicted = pair()
    true[2, 2, 2:5], predicted[2, 2, 2:5] = 1, 2
    assert {(e.label, e.kind, e.voxels) for e in errors(true, predicted)} == {
        ("liver", MISSED, 3),
        ("tumour", ADDED, 3),
    }


def test_corners_join_and_gaps_part():
    true, predicted = pair()
    predicted[1, 1, 1] = predicted[2, 2, 2] = 1
    predicted[5, 5, 5] = predicted[5, 5, 7] = 1
    assert [error.voxels for error in errors(true, predicted)] == [2, 1, 1]


def test_the_voxel_lies_in_a_bent_error():
    true, predicted = pair((1, 21, 21))
    angle = np.linspace(0, 1.5 * np.pi, 200)
    rows, columns = (
        np.rint(10 + 9 * np.sin(angle)).astype(int),
        np.rint(10 + 9 * np.cos(angle)).astype(int),
    )
    predicted[0, rows, columns] = 1
    (error,) = errors(true, predicted)
    assert predicted[error.voxel] == 1
    assert error.voxels == np.count_nonzero(predicted)


def test_only_the_largest_are_listed():
    true, predicted = pair((3, 40, 40))
    predicted[0, ::2, ::2] = 1  # 400 specks
    predicted[2, 10:15, 10:15] = 1
    found = errors(true, predicted, most=7)
    assert [error.voxels for error in found] == [25, 1, 1, 1, 1, 1, 1]
    assert len(errors(true, predicted)) == 200


def test_regions_are_judged_and_ignored_voxels_are_not():
    true, predicted = pair()
    true[1, 1, 1:4], predicted[1, 1, 1:4] = [1, 2, 3], [2, 2, 1]
    labels = {"background": 0, "whole": (1, 2), "core": 2, "ignore": 3}
    (error,) = errors(true, predicted, labels)
    assert (error.label, error.kind, error.voxel) == ("core", ADDED, (1, 1, 1))


def test_a_perfect_prediction_has_no_errors():
    true, _ = pair()
    true[1:3, 1:3, 1:3] = 1
    assert errors(true, true.copy()) == ()


def test_two_grids_are_refused():
    true, predicted = pair()
    with pytest.raises(GridsDiffer):
        errors(true, predicted[:-1])


@pytest.mark.parametrize(("axis", "index"), [(0, 6), (1, 8), (2, 2)])
def test_the_worst_slice_has_most_wrong_voxels(axis, index):
    true, predicted = pair()
    true[1, 1:3, 1:3] = predicted[1, 1:3, 1:3] = 1
    predicted[6, 8, 2:6] = 1
    predicted[5, 8, 2] = 1
    found = worst_slice(label_map(true), label_map(predicted), LABELS, "liver", axis=axis)
    assert found == index


def test_without_errors_the_fullest_slice_is_shown():
    true, _ = pair()
    true[2, 1, 1], true[5, 1:4, 1:4] = 2, 2
    maps = label_map(true), label_map(true.copy())
    assert worst_slice(*maps, LABELS, "tumour") == 5
    assert worst_slice(*maps, LABELS, "liver") is None
