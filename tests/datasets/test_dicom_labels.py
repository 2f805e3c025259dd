"""SEG, RTSTRUCT and label files as masks: exact voxel counts, placed by position."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from helpers.dicom_files import DicomStudy, box, noise
from pydicom.data import get_testdata_file

from app.datasets.dicom_index import index
from app.datasets.dicom_labels import (
    file_lies_on,
    file_structures,
    segmentation_structures,
    structure_set_structures,
)
from app.datasets.placement import OtherGrid
from app.domain.errors import DataProblem

SHAPE = (8, 20, 24)
OBLIQUE = {"rows": (0.8, 0.6, 0.0), "columns": (0.0, 0.0, -1.0)}
FORMATS = Path(__file__).resolve().parents[3] / "shared" / "data" / "formats"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom"


def blobs(shape=SHAPE):
    """Two structures that overlap, with empty slices below, between and above."""
    one = box(shape, (2, 3), (5, 12), (3, 9)) | box(shape, (5, 7), (4, 8), (2, 20))
    return {"one": one, "two": box(shape, (5, 6), (6, 15), (10, 18))}


@pytest.mark.parametrize("way", [{}, OBLIQUE], ids=["axial", "oblique"])
def test_each_segment_comes_back_voxel_by_voxel(tmp_path, way):
    study = DicomStudy(tmp_path)
    path = study.segmentation("seg.dcm", study.series("ct", noise(), **way), blobs())
    assert int(pydicom.dcmread(path).NumberOfFrames) == 4  # empty frames are not there
    (series,) = index(tmp_path).series
    for structure in segmentation_structures(path, series.geometry):
        mask, remarks = structure.draw()
        assert (mask == blobs()[structure.found]).all()
        assert remarks == ()


def test_frames_are_placed_by_position_not_by_order(tmp_path):
    study = DicomStudy(tmp_path)
    path = study.segmentation("seg.dcm", study.series("ct", noise()), blobs())
    (series,) = index(tmp_path).series
    seg = pydicom.dcmread(path)
    frames = seg.pixel_array[::-1]
    seg.PerFrameFunctionalGroupsSequence = list(seg.PerFrameFunctionalGroupsSequence)[::-1]
    bits = np.packbits(frames.ravel(), bitorder="little").tobytes()
    seg.PixelData = bits + b"\0" * (len(bits) % 2)
    seg.save_as(path)
    found = {one.found: one.draw()[0] for one in segmentation_structures(path, series.geometry)}
    assert all((found[name] == mask).all() for name, mask in blobs().items())


def test_what_is_no_segmentation_is_a_sentence(tmp_path):
    study = DicomStudy(tmp_path)
    study.series("ct", noise())
    (series,) = index(tmp_path).series
    image = tmp_path / series.path
    with pytest.raises(DataProblem, match="is not a DICOM segmentation"):
        segmentation_structures(image, series.geometry)


@pytest.mark.skipif(not FORMATS.is_dir(), reason="no real DICOM SEG here")
def test_a_real_segmentation_on_its_real_images(tmp_path):
    path = FORMATS / "seg_image_ct_binary_overlap.dcm"
    images = Path(get_testdata_file("dicomdirtests/77654033/CT2/17136")).parent
    for image in images.iterdir():
        if float(pydicom.dcmread(image).ImagePositionPatient[2]) > 0:
            shutil.copy(image, tmp_path)
    (series,) = index(tmp_path).series
    first, second = segmentation_structures(path, series.geometry)
    # The fourth image, 200 mm below, is left out: its frames have no place.
    for structure, voxels, beyond in ((first, 48, 16), (second, 12, 4)):
        mask, remarks = structure.draw()
        assert [np.count_nonzero(part) for part in mask] == [voxels // 3] * 3
        assert remarks == (f"{beyond} of its voxels lie outside of the image and are left out",)


def contour(geometry, number, corners):
    """Corners (x, y) in voxels of slice `number`, as points in mm."""
    return np.array([geometry.point_of((number, y, x)) for x, y in corners])


def winds(corners, shape):
    """Which pixel centres a polygon holds, by crossings counted one by one."""
    mask = np.zeros(shape, dtype=bool)
    row, column = np.indices(shape)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        meets = (ay > row) != (by > row)
        height = by - ay or np.inf
        mask ^= meets & (column < (bx - ax) * (row - ay) / height + ax)
    return mask


def star(points, seed, middle, radius):
    random = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    length = random.uniform(0.4, 1.0, points) * radius
    return np.stack([middle[0] + length * np.cos(angle), middle[1] + length * np.sin(angle)], 1)


@pytest.mark.parametrize("way", [{}, OBLIQUE], ids=["axial", "oblique"])
def test_regions_hold_the_voxels_that_another_rule_says(tmp_path, way):
    study = DicomStudy(tmp_path)
    images = study.series("ct", noise(), **way)
    (series,) = index(tmp_path).series
    grid = series.geometry
    corners = [star(40, number, (12.3, 9.7), 9) for number in range(3)]
    hole = star(12, 9, (12.1, 9.9), 3)
    path = study.structure_set(
        "rt",
        images,
        {
            "body": [contour(grid, 2 + n, one) for n, one in enumerate(corners)],
            "shell": [contour(grid, 4, corners[0]), contour(grid, 4, hole)],
        },
    )
    body, shell = structure_set_structures(path, grid)
    mask, remarks = body.draw()
    expected = np.zeros(SHAPE, dtype=bool)
    for number, one in enumerate(corners):
        expected[2 + number] = winds(one, SHAPE[1:])
    assert (mask == expected).all()
    assert expected.sum() > 200
    assert remarks == ()
    mask, _ = shell.draw()
    assert (mask[4] == winds(corners[0], SHAPE[1:]) ^ winds(hole, SHAPE[1:])).all()
    assert mask.sum() == mask[4].sum()


@pytest.mark.skipif(not REAL.is_dir(), reason="no real DICOM series here")
def test_contours_on_a_real_oblique_series(tmp_path):
    series = next(one for one in index(REAL).series if "T1post" in one.path)
    grid = series.geometry
    images = [pydicom.dcmread(REAL / one.path, stop_before_pixels=True) for one in series.slices]
    study = DicomStudy(tmp_path)
    corners = star(60, 3, (140.2, 150.6), 60)
    path = study.structure_set("rt", images, {"a": [contour(grid, n, corners) for n in (5, 6, 8)]})
    (region,) = structure_set_structures(path, grid)
    mask, remarks = region.draw()
    expected = winds(corners, grid.shape[1:])
    assert [np.count_nonzero(part != expected) for part in mask[[5, 6, 8]]] == [0, 0, 0]
    assert mask.sum() == 3 * expected.sum()
    (remark,) = remarks
    assert remark == (
        "it has no contour in 1 slice(s) between others, the first is slice 8; nothing is "
        "filled in there"
    )


def test_contours_between_slices_are_refused(tmp_path):
    study = DicomStudy(tmp_path)
    images = study.series("ct", noise())
    (series,) = index(tmp_path).series
    box_corners = [(2, 2), (9, 2), (9, 9), (2, 9)]
    path = study.structure_set("rt", images, {"a": [contour(series.geometry, 2.4, box_corners)]})
    (region,) = structure_set_structures(path, series.geometry)
    with pytest.raises(OtherGrid):
        region.draw()


@pytest.mark.parametrize("way", [{}, OBLIQUE], ids=["axial", "oblique"])
def test_a_label_file_is_placed_however_it_was_stored(tmp_path, way):
    study = DicomStudy(tmp_path)
    study.series("ct", noise(), **way)
    (series,) = index(tmp_path).series
    grid = series.geometry
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[2:4, 3:9, 4:12] = 1
    label[5, 10:12, 1:3] = 4
    image = SimpleITK.GetImageFromArray(label)
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(np.ravel(grid.direction).tolist())
    # Converters store NIfTI from the patient's right, back and bottom.
    turned = SimpleITK.PermuteAxes(SimpleITK.Flip(image, (True, True, False)), (2, 0, 1))
    path = tmp_path / "label.nii.gz"
    SimpleITK.WriteImage(turned, str(path))
    assert file_lies_on(path, grid)
    found = {one.found: one.draw() for one in file_structures(path, grid)}
    assert {name: mask.sum() for name, (mask, _) in found.items()} == {"value 1": 96, "value 4": 4}
    assert (found["value 1"][0] == (label == 1)).all()
    assert (found["value 4"][0] == (label == 4)).all()


def test_a_label_file_of_another_grid_or_of_fractions_is_refused(tmp_path):
    study = DicomStudy(tmp_path)
    study.series("ct", noise())
    (series,) = index(tmp_path).series
    image = SimpleITK.GetImageFromArray(np.full(SHAPE, 0.5, dtype=np.float32))
    path = tmp_path / "label.nii.gz"
    SimpleITK.WriteImage(image, str(path))
    assert not file_lies_on(path, series.geometry)
    assert not file_lies_on(tmp_path / "absent.nii.gz", series.geometry)
    with pytest.raises(DataProblem, match="holds other values than whole numbers from 0 to 255"):
        file_structures(path, series.geometry)
