"""Where voxels lie in uncompressed files; files that cannot be mapped."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import SimpleITK

from app.datasets.mapping import raw_layout


def write(path, *, packed=False, kind=np.int16):
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.arange(60, dtype=kind).reshape(3, 4, 5)), str(path), packed
    )
    return path


@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
def test_the_voxels_begin_where_it_says(tmp_path, ending):
    path = write(tmp_path / f"image{ending}")
    layout = raw_layout(path)
    assert layout is not None
    assert np.frombuffer(path.read_bytes()[layout.offset :], layout.voxel_type).tolist() == list(
        range(60)
    )


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_packed_files_cannot_be_mapped(tmp_path, ending):
    assert raw_layout(write(tmp_path / f"image{ending}", packed=True)) is None


@pytest.mark.parametrize(("slope", "intercept"), [(2.0, 0.0), (1.0, -1024.0)])
def test_scaled_nifti_cannot_be_mapped(tmp_path, slope, intercept):
    path = write(tmp_path / "image.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<ff", raw, 112, slope, intercept)
    path.write_bytes(bytes(raw))
    assert raw_layout(path) is None


def test_other_formats_cannot_be_mapped(tmp_path):
    assert raw_layout(write(tmp_path / "image.gipl")) is None


def test_big_endian_nrrd(tmp_path):
    path = tmp_path / "image.nrrd"
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: big\nencoding: raw\n\n"
    path.write_bytes(head.encode() + np.arange(60, dtype=">i2").tobytes())
    layout = raw_layout(path)
    assert layout is not None
    assert (layout.offset, layout.voxel_type) == (len(head), np.dtype(">i2"))
