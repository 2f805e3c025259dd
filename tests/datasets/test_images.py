"""Reading real and broken files: a volume, or one plain sentence."""

from __future__ import annotations

import gc
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from helpers.image_folders import shared_data, write_image
from hypothesis import HealthCheck, given, settings, strategies as st

from app.datasets.geometry import orientation_code
from app.datasets.images import Fault, ImageProblem, read_geometry, read_header, read_volume
from app.domain.errors import DataProblem, ErrorCode

ENDINGS = [".nii.gz", ".nii", ".nrrd", ".mha", ".gipl"]


def voxels(shape=(4, 5, 6), kind=np.int16) -> np.ndarray:
    return np.random.default_rng(1).integers(-900, 900, shape).astype(kind)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_voxels_and_geometry_come_back_from_every_format(tmp_path, ending, kind):
    array = voxels(kind=kind)
    path = write_image(tmp_path / f"image{ending}", array)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == kind
    assert volume.spacing_mm == (3.0, 1.0, 1.0)
    assert volume.origin_mm == (-10.0, 5.0, 2.0)
    assert volume.direction == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert read_geometry(path) == volume.geometry
    assert read_header(path).bytes_in_memory == array.nbytes


def test_voxels_are_read_only_and_outlive_their_volume(tmp_path):
    array = voxels((40, 50, 60))
    slices = read_volume(write_image(tmp_path / "image.nii.gz", array)).array[3:5]
    gc.collect()
    # New images would take the freed memory of the old one.
    others = [SimpleITK.Image([60, 50, 40], SimpleITK.sitkInt16) for _ in range(20)]
    np.testing.assert_array_equal(slices, array[3:5])
    assert not slices.flags.writeable
    assert len(others) == 20


@pytest.mark.parametrize(
    ("ending", "known"),
    [(".nii.gz", True), (".nrrd", True), (".mha", True), (".gipl", False)],
)
def test_formats_that_say_how_the_patient_lies(tmp_path, ending, known):
    assert read_geometry(write_image(tmp_path / f"image{ending}", voxels())).known is known


def test_a_nifti_without_orientation_codes_is_unknown(tmp_path):
    path = write_image(tmp_path / "image.nii", voxels())
    raw = bytearray(path.read_bytes())
    struct.pack_into("<hh", raw, 252, 0, 0)
    path.write_bytes(bytes(raw))
    assert not read_geometry(path).known
    assert orientation_code(read_geometry(path)) is None


def test_an_nrrd_without_a_space_is_unknown(tmp_path):
    path = tmp_path / "image.nrrd"
    head = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: raw\n\n"
    path.write_bytes(head.encode() + bytes(120))
    assert not read_geometry(path).known


def test_a_metaimage_without_a_matrix_is_unknown(tmp_path):
    path = tmp_path / "image.mha"
    head = (
        "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementType = MET_UCHAR\n"
        "ElementDataFile = LOCAL\n"
    )
    path.write_bytes(head.encode() + bytes(120))
    assert not read_geometry(path).known


def test_a_plain_picture_is_one_slice_without_orientation(tmp_path):
    path = tmp_path / "image.png"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels((5, 6), np.uint8)), str(path))
    volume = read_volume(path)
    assert volume.array.shape == (1, 5, 6)
    assert volume.geometry.planar
    assert not volume.geometry.known


def test_a_fourth_axis_of_length_one_is_dropped(tmp_path):
    array = voxels((1, 4, 5, 6))
    path = tmp_path / "image.nrrd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=False), str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array[0])
    assert volume.geometry.shape == (4, 5, 6)


def refused(path: Path) -> ImageProblem:
    with pytest.raises(ImageProblem) as problem:
        read_volume(path)
    assert problem.value.code is ErrorCode.CASE_UNREADABLE
    assert problem.value.path == path
    assert problem.value.remedy.endswith(".")
    return problem.value


def test_a_missing_file(tmp_path):
    problem = refused(tmp_path / "image.nii.gz")
    assert problem.fault is Fault.MISSING
    assert str(problem) == f"{tmp_path.name}/image.nii.gz cannot be used: there is no such file"


def test_an_empty_file(tmp_path):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(b"")
    problem = refused(path)
    assert problem.fault is Fault.EMPTY
    assert problem.reason == "the file is empty (0 bytes)"


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = write_image(tmp_path / "image.nii.gz", voxels())

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    problem = refused(path)
    assert problem.fault is Fault.NO_PERMISSION
    assert problem.remedy == "Ask IT for read permission on this file."


def test_a_disk_that_fails(tmp_path, monkeypatch):
    path = write_image(tmp_path / "image.nii.gz", voxels())

    def fail(*_args, **_kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    assert refused(path).reason == "the disk reports “Input/output error”"


@pytest.mark.parametrize("ending", ENDINGS)
def test_garbage_is_refused(tmp_path, ending):
    path = tmp_path / f"image{ending}"
    path.write_bytes(b"\x1f\x8b this is no image " * 40)
    problem = refused(path)
    assert problem.fault is Fault.FORMAT
    assert problem.reason == "it is damaged, or not in the format its name says"


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("packed", [True, False])
def test_a_file_that_ends_early_is_refused(tmp_path, ending, packed, share):
    path = tmp_path / f"image{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels((9, 20, 21))), str(path), packed)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert refused(path).fault is Fault.CUT_OFF


def test_how_much_of_a_nifti_is_there_is_said(tmp_path):
    path = write_image(tmp_path / "image.nii", voxels((4, 5, 6)))
    path.write_bytes(path.read_bytes()[:-100])
    assert refused(path).reason == "only 492 of its 592 bytes are there and sound"


def test_four_dimensions(tmp_path):
    path = tmp_path / "image.nii.gz"
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(voxels((3, 4, 5, 6)), isVector=False), str(path)
    )
    problem = refused(path)
    assert problem.fault is Fault.DIMENSIONS
    assert problem.reason == "it has 4 dimensions (3 volumes in one file)"


def test_one_dimension(tmp_path):
    path = write_image(tmp_path / "image.nii", voxels((2, 3, 4)))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<8h", raw, 40, 1, 24, 1, 1, 1, 1, 1, 1)
    path.write_bytes(bytes(raw))
    problem = refused(path)
    assert problem.fault is Fault.DIMENSIONS
    assert problem.reason == "it is no picture: its size is 24"


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".png"])
def test_colours(tmp_path, ending):
    path = tmp_path / f"image{ending}"
    shape = (5, 6, 3) if ending == ".png" else (4, 5, 6, 3)
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(voxels(shape, np.uint8), isVector=True), str(path)
    )
    problem = refused(path)
    assert problem.fault is Fault.COLOUR
    assert problem.reason == "it holds 3 values per voxel, as colour images do"


def test_memory_that_does_not_suffice(tmp_path, monkeypatch):
    path = write_image(tmp_path / "image.nii.gz", voxels())

    def fail(*_args, **_kwargs):
        raise RuntimeError("Failed to allocate memory for image.")

    monkeypatch.setattr(SimpleITK, "ReadImage", fail)
    with pytest.raises(Exception, match="does not fit into memory") as problem:
        read_volume(path)
    assert problem.value.code is ErrorCode.MEMORY_FULL


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
def test_huge_uncompressed_files_are_mapped(tmp_path, ending, kind):
    array = voxels((7, 8, 9), kind)
    path = tmp_path / f"image{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), False)
    volume = read_volume(path, map_above_bytes=100)
    assert volume.mapped
    assert isinstance(volume.array, np.memmap)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.geometry == read_volume(path).geometry
    assert not read_volume(path, map_above_bytes=10_000).mapped


def test_a_packed_file_is_read_even_when_huge(tmp_path):
    path = write_image(tmp_path / "image.nii.gz", voxels())
    volume = read_volume(path, map_above_bytes=1)
    assert not volume.mapped
    np.testing.assert_array_equal(volume.array, voxels())


def test_a_dicom_series_is_a_volume():
    folder = shared_data("dicom", "study3", "11-T1post-18670")
    volume = read_volume(folder)
    assert volume.array.shape == (22, 320, 280)
    assert volume.spacing_mm == pytest.approx((6.5, 0.6875, 0.6875), abs=1e-3)
    assert orientation_code(volume.geometry) == "LPS"
    assert read_header(folder).geometry.shape == volume.array.shape


def test_a_folder_with_two_series_must_be_split(tmp_path):
    for series in ("11-T1post-18670", "11_HCropVolume"):
        for file in shared_data("dicom", "study3", series).iterdir():
            (tmp_path / f"{series}-{file.name}").write_bytes(file.read_bytes())
    problem = refused(tmp_path)
    assert problem.fault is Fault.SEVERAL_SERIES
    assert problem.reason == "the folder holds 2 DICOM series"


def test_a_folder_without_dicom(tmp_path):
    assert refused(tmp_path).reason == "the folder holds no DICOM series"


@pytest.mark.parametrize(
    ("name", "shape", "code"),
    [
        ("CT_AVM.nii.gz", (154, 242, 256), "RAS"),
        ("CT_pitch.nii.gz", (58, 248, 175), "RAS"),
        ("MR_Gd.nii.gz", (144, 188, 176), "RAS"),
        ("fmri_pitch.nii.gz", (35, 64, 64), "RAS"),
        ("brain1_image.nrrd", (25, 256, 256), "LAS"),
        ("breast1_label.nrrd", (21, 120, 45), "LPS"),
        ("ct_image.dcm", (1, 128, 128), "LPS"),
    ],
)
def test_real_files_in_awkward_shapes(name, shape, code):
    volume = read_volume(shared_data("formats", name))
    assert volume.array.shape == volume.geometry.shape == shape
    assert orientation_code(volume.geometry) == code


def test_free_texts_of_the_header_are_told():
    notes = dict(read_header(shared_data("formats", "CT_pitch.nii.gz")).notes)
    assert notes == {"aux_file": "STEREOTAXIS", "descrip": "Time=93808.000"}


@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
def test_a_file_that_ends_early_is_not_mapped(tmp_path, ending):
    path = tmp_path / f"image{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels((9, 20, 21))), str(path), False)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ImageProblem) as problem:
        read_volume(path, map_above_bytes=1)
    assert problem.value.fault is Fault.CUT_OFF


SOUND = np.random.default_rng(2).normal(size=(4, 5, 6)).astype(np.float32)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    ending=st.sampled_from(ENDINGS),
    changes=st.lists(st.tuples(st.integers(0, 359), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.floats(0.1, 1.0) | st.just(1.0),
)
def test_any_damage_gives_a_volume_or_a_sentence(tmp_path_factory, ending, changes, keep):
    path = tmp_path_factory.mktemp("fuzz") / f"image{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(SOUND), str(path), False)
    raw = bytearray(path.read_bytes())
    if ending == ".nii.gz":  # damage the header, not the packing around it
        raw = bytearray(gzip.decompress(bytes(raw)))
    for place, value in changes:
        raw[place % len(raw)] = value
    kept = bytes(raw[: int(len(raw) * keep)])
    path.write_bytes(gzip.compress(kept) if ending == ".nii.gz" else kept)
    try:
        volume = read_volume(path)
    except DataProblem as problem:
        sentence = str(problem)
        volume = None
    else:
        sentence = ""
    assert bool(sentence) is (volume is None)
    if volume is not None:
        assert volume.array.shape == volume.geometry.shape
