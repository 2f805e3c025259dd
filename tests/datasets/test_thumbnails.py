"""Thumbnails show the right slice, the right way round, with the label on the image."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.image_folders import shared_data

from app.datasets.geometry import Geometry, Plane
from app.datasets.images import Volume, read_volume
from app.datasets.thumbnails import middle_of_largest_label, thumbnail

LPS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
RAI = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))


def volume(array, direction=LPS, spacing_mm=(2.0, 1.0, 1.0)) -> Volume:
    return Volume(
        array=array,
        geometry=Geometry(shape=array.shape, spacing_mm=spacing_mm, direction=direction),
    )


def test_the_middle_of_the_largest_label():
    labels = np.zeros((9, 4, 4), np.uint8)
    labels[1, 0, 0] = 2
    labels[3:8, :2, :2] = 1
    assert middle_of_largest_label(labels, 0) == 5
    assert middle_of_largest_label(labels, 2) == 0
    assert middle_of_largest_label(np.zeros_like(labels), 0) is None
    assert middle_of_largest_label(None, 0) is None


def test_the_middle_lies_in_a_label_of_two_parts():
    labels = np.zeros((9, 2, 2), np.uint8)
    labels[[0, 1, 7, 8]] = 1
    assert middle_of_largest_label(labels, 0) in {0, 1, 7, 8}


@pytest.mark.parametrize("direction", [LPS, RAI])
def test_image_and_label_are_cut_and_turned_alike(direction):
    labels = np.zeros((6, 20, 30), np.uint8)
    labels[4, 2:5, 20:28] = 1
    image = np.where(labels > 0, 900, 100).astype(np.int16)
    picture = thumbnail(volume(image, direction), volume(labels, direction), longest_side=30)
    assert picture.grey.shape == picture.labels.shape == (20, 30)
    assert picture.fits
    np.testing.assert_array_equal(picture.grey > 128, picture.labels == 1)
    assert picture.labels.any()
    assert picture.slice_number == (4 if direction is LPS else 1)
    # Patient right is left on the screen: index 20..28 of an axis towards the left lies right.
    columns = np.flatnonzero(picture.labels.any(axis=0))
    assert bool(columns.mean() > 15) is (direction is LPS)


def test_pixels_are_square_and_the_longest_side_fits():
    image = volume(np.random.default_rng(0).normal(size=(10, 50, 100)), spacing_mm=(5, 1, 1))
    assert thumbnail(image, None, longest_side=64).grey.shape == (32, 64)
    assert thumbnail(image, None, longest_side=64, plane=Plane.CORONAL).grey.shape == (32, 64)


def test_a_window_maps_its_ends_to_black_and_white():
    image = volume(np.array([[[-1000, -160, 40, 240, 1000]]], np.int16))
    grey = thumbnail(image, None, longest_side=5, window=(-160, 240)).grey
    assert grey.ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("value", [7.0, np.nan, np.inf])
def test_a_constant_image_is_black(value):
    grey = thumbnail(volume(np.full((2, 3, 3), value, np.float32)), None).grey
    assert not grey.any()


def test_a_label_of_another_shape_is_not_drawn():
    picture = thumbnail(volume(np.ones((4, 5, 6))), volume(np.ones((4, 5, 7), np.uint8)))
    assert not picture.fits
    assert not picture.labels.any()


def test_a_real_case():
    picture = thumbnail(
        read_volume(shared_data("formats", "brain1_image.nrrd")),
        read_volume(shared_data("formats", "brain1_label.nrrd")),
    )
    assert picture.grey.shape == (96, 96)
    assert (picture.view.left, picture.view.top) == ("R", "A")
    assert 0 < np.count_nonzero(picture.labels) < 500
    assert picture.grey.std() > 20
