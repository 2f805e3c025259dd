"""Looking into NIfTI files for what SimpleITK does not tell."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import SimpleITK

from app.datasets.nifti import inspect, quick_length, read_layout


def write(path, array):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    return path


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_voxels_that_are_not_numbers_are_counted(tmp_path, name, kind):
    array = np.ones((40, 90, 91), dtype=kind)  # more than one chunk
    array[30, 2, 5], array[39, 89, 90], array[30, 2, 7] = np.nan, np.inf, -np.inf
    path = write(tmp_path / name, array)
    content = inspect(path, read_layout(path))
    assert content.not_finite == 3
    assert content.first_not_finite == 30 * 90 * 91 + 2 * 91 + 5
    assert content.sound_bytes == 352 + array.nbytes


def test_simpleitk_hides_them(tmp_path):
    # When this fails, `app.datasets.nifti` can go.
    array = np.full((2, 3, 4), np.nan, dtype=np.float32)
    read = SimpleITK.ReadImage(str(write(tmp_path / "image.nii.gz", array)))
    assert not SimpleITK.GetArrayFromImage(read).any()


def test_integers_are_always_numbers(tmp_path):
    path = write(tmp_path / "image.nii.gz", np.full((2, 3, 4), -1, dtype=np.int16))
    layout = read_layout(path)
    assert layout is not None
    assert layout.floats is None
    assert inspect(path, layout).not_finite == 0


def test_several_gzip_members_are_one_file(tmp_path):
    path = write(tmp_path / "image.nii.gz", np.ones((8, 9, 10), dtype=np.float32))
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(
        gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]) + gzip.compress(b"") + bytes(512)
    )
    assert inspect(path, read_layout(path)).sound_bytes == len(raw)
    assert quick_length(path, len(raw)) == len(raw)


def test_a_wrong_checksum_is_found_by_a_full_look_only(tmp_path):
    path = write(tmp_path / "image.nii.gz", np.ones((8, 9, 10), dtype=np.float32))
    raw = bytearray(path.read_bytes())
    expected = len(gzip.decompress(bytes(raw)))
    raw[-8] ^= 1
    path.write_bytes(bytes(raw))
    assert quick_length(path, expected) == expected
    assert inspect(path, read_layout(path)).sound_bytes < expected


def test_a_header_that_is_not_whole_has_no_layout(tmp_path):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(bytes(100)))
    assert read_layout(path) is None
    path.write_bytes(b"\x1f\x8bnonsense")
    assert read_layout(path) is None


def test_nifti_2(tmp_path):
    header = bytearray(544)
    header[:8] = b"\x1c\x02\0\0n+2\0"
    header[12:16] = (64).to_bytes(2, "little") + (64).to_bytes(2, "little")
    header[168:176] = (544).to_bytes(8, "little")
    path = tmp_path / "image.nii"
    path.write_bytes(bytes(header) + np.asarray([1.0, np.nan]).tobytes())
    layout = read_layout(path)
    assert layout is not None
    assert (layout.offset, layout.bits) == (544, 64)
    assert inspect(path, layout).first_not_finite == 1
