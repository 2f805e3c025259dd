"""Voxels and geometry of series, against SimpleITK's own series reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from helpers.dicom_files import SECRETS, DicomStudy, noise

from app.datasets.dicom_images import read_series, write_image
from app.datasets.dicom_index import index
from app.datasets.images import ImageProblem

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom"


def by_simpleitk(folder):
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return SimpleITK.ReadImage(names)


def same(image, array, geometry):
    assert image.GetSpacing() == pytest.approx(geometry.spacing_mm[::-1], abs=1e-3)
    assert image.GetOrigin() == pytest.approx(geometry.origin_mm, abs=1e-3)
    assert image.GetDirection() == pytest.approx(np.ravel(geometry.direction), abs=1e-6)
    assert (SimpleITK.GetArrayFromImage(image) == array).all()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"slope": 2.0, "intercept": -1024.0},
        {"slope": 0.5},
        {"rows": (0.8, 0.6, 0.0), "columns": (0.0, 0.0, -1.0), "modality": "MR"},
        {"rows": (-1.0, 0.0, 0.0), "columns": (0.0, -1.0, 0.0)},
    ],
    ids=["axial", "rescaled", "fractions", "oblique", "turned"],
)
def test_a_series_reads_as_simpleitk_reads_it(tmp_path, changes):
    DicomStudy(tmp_path).series("s", noise(), **changes)
    (series,) = index(tmp_path).series
    array = read_series(tmp_path, series)
    same(by_simpleitk(tmp_path / "s"), array, series.geometry)
    assert array.dtype != np.float64
    expected = noise() * changes.get("slope", 1.0) + changes.get("intercept", 0.0)
    # Slice k lies k steps along the normal, which is how they were written.
    assert (array == expected).all()


def test_slopes_that_differ_by_slice_are_kept(tmp_path):
    import pydicom

    DicomStudy(tmp_path).series("pet", np.full((4, 6, 6), 10), modality="PT")
    for path in (tmp_path / "pet").iterdir():
        one = pydicom.dcmread(path)
        one.RescaleSlope = 1.0 if float(one.ImagePositionPatient[2]) < 101 else 0.25
        one.save_as(path)
    (series,) = index(tmp_path).series
    assert read_series(tmp_path, series)[:, 0, 0].tolist() == [10.0, 2.5, 2.5, 2.5]


def test_a_damaged_slice_is_named(tmp_path):
    DicomStudy(tmp_path).series("s", noise())
    (series,) = index(tmp_path).series
    broken = tmp_path / series.slices[4].path
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(ImageProblem) as problem:
        read_series(tmp_path, series)
    assert problem.value.path == broken


def test_what_is_written_reads_back_and_says_nothing_else(tmp_path):
    DicomStudy(tmp_path).series("s", noise(), rows=(0.8, 0.6, 0.0), columns=(0.0, 0.0, -1.0))
    (series,) = index(tmp_path).series
    path = tmp_path / "image.nii"
    write_image(read_series(tmp_path, series), series.geometry, path)
    image = SimpleITK.ReadImage(str(path))
    assert image.GetSpacing() == pytest.approx((0.7, 0.8, 3.0), abs=1e-3)
    assert image.GetOrigin() == pytest.approx(series.geometry.origin_mm, abs=1e-3)
    assert image.GetDirection() == pytest.approx(np.ravel(series.geometry.direction), abs=1e-5)
    assert not [secret for secret in SECRETS if secret in path.read_bytes()]
    assert not any(image.GetMetaData(key).strip() for key in ("descrip", "aux_file", "db_name")
                   if image.HasMetaDataKey(key))  # fmt: skip


@pytest.mark.skipif(not REAL.is_dir(), reason="no real DICOM series here")
def test_real_series_read_as_simpleitk_reads_them():
    tree = index(REAL)
    assert len(tree.series) == 5
    assert {one.fault for one in tree.series} == {""}
    for series in tree.series:
        image = by_simpleitk((REAL / series.path).parent)
        same(image, read_series(REAL, series), series.geometry)
