"""Real DICOM series: found in a tree, converted without a trace of the patient."""

from __future__ import annotations

import gzip
import re
import shutil

import numpy as np
import pytest
import SimpleITK
from helpers.image_folders import shared_data

from app.datasets.dicom import Series, convert, find_series
from app.datasets.images import Fault, ImageProblem, read_header, read_volume

FLAIR = ("dicom", "study3", "36468-FLAIRreg-58706")


def tags(file: str) -> dict[str, str]:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def only_series(folder) -> Series:
    (series,) = find_series(folder)
    return series


def test_every_series_of_a_nested_tree_is_found():
    root = shared_data("dicom")
    found = {
        series.folder.removeprefix(f"{root}/"): len(series.files) for series in find_series(root)
    }
    assert found == {
        "study1/13_HCropVolume": 32,
        "study2/14_HCropVolume": 35,
        "study3/11-T1post-18670": 22,
        "study3/11_HCropVolume": 40,
        "study3/36468-FLAIRreg-58706": 22,
    }


def test_two_series_in_one_folder_are_two(tmp_path):
    for name in ("11-T1post-18670", "11_HCropVolume"):
        for file in shared_data("dicom", "study3", name).iterdir():
            shutil.copy(file, tmp_path / f"{name}-{file.name}")
    assert sorted(len(series.files) for series in find_series(tmp_path)) == [22, 40]


def test_folders_without_dicom_have_no_series(tmp_path):
    (tmp_path / "notes.dcm").write_text("no DICOM at all")
    assert find_series(tmp_path) == ()


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_voxels_and_geometry_are_kept(tmp_path, ending):
    series = only_series(shared_data(*FLAIR))
    convert(series, tmp_path / f"flair{ending}")
    source, converted = read_volume(shared_data(*FLAIR)), read_volume(tmp_path / f"flair{ending}")
    np.testing.assert_array_equal(converted.array, source.array)
    assert converted.spacing_mm == pytest.approx(source.spacing_mm, rel=1e-5)
    assert converted.origin_mm == pytest.approx(source.origin_mm, abs=1e-3)
    assert np.allclose(converted.direction, source.direction, atol=1e-5)
    assert converted.geometry.known


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_nothing_of_the_patient_is_left(tmp_path, ending):
    series = only_series(shared_data(*FLAIR))
    path = tmp_path / f"flair{ending}"
    convert(series, path)
    raw = path.read_bytes()
    if ending == ".nii.gz":
        raw = gzip.decompress(raw)
    telling = {
        text.strip()
        for file in series.files
        for key, text in tags(file).items()
        if key.startswith(("0010|", "0008|0020", "0008|0080", "0008|0090", "0020|000d"))
        and len(text.strip()) > 3
    }
    assert any(key.startswith("0010|0010") for key in tags(series.files[0]))
    assert telling
    for text in telling:
        for part in filter(lambda word: len(word) > 3, re.split(r"[\^\s]+", text)):
            assert part.encode() not in raw
    assert read_header(path).notes == ()


def test_a_series_with_missing_slices_is_refused(tmp_path):
    files = sorted(shared_data(*FLAIR).iterdir())
    for number, file in enumerate(files):
        if number != 9:
            shutil.copy(file, tmp_path / file.name)
    with pytest.raises(ImageProblem) as problem:
        convert(only_series(tmp_path), tmp_path / "flair.nii.gz")
    assert problem.value.fault is Fault.FORMAT
    assert problem.value.reason == "its slices lie 6.5 to 13 mm apart: some are missing"
    assert not (tmp_path / "flair.nii.gz").exists()


def test_a_destination_that_cannot_be_written(tmp_path):
    series = only_series(shared_data("dicom", "study1"))
    with pytest.raises(OSError, match="cannot be written"):
        convert(series, tmp_path / "gone" / "image.nii.gz")
