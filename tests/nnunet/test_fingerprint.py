"""The extractor against nnU-Net's own, case by case, and its errors."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from app.domain.dataset import Case, DatasetDescription, DatasetFolder
from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.domain.shared import INTENSITY_BINS, intensity_bin
from app.nnunet import fingerprint as module
from app.nnunet.fingerprint import (
    channel_statistics,
    extract,
    extract_case,
    intensity_bins,
    nonzero_box,
)


def _write(path, array, spacing=(1.0, 1.0, 1.0)):
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path))
    return str(path)


def _case(folder, name, images, label, spacing=(1.0, 1.0, 1.0)):
    return Case(
        name=name,
        channels=tuple(
            _write(folder / f"{name}_{number:04d}.nii.gz", image, spacing)
            for number, image in enumerate(images)
        ),
        label=_write(folder / f"{name}.nii.gz", label, spacing),
    )


def _folder(root, cases, channels=("MRI",)):
    return DatasetFolder(
        root=str(root),
        layout="nnunet",
        description=DatasetDescription(
            channel_names=channels, labels={"background": 0, "organ": 1}, file_ending=".nii.gz"
        ),
        training=tuple(cases),
    )


def _blob(rng, shape, margin):
    image = np.zeros(shape, np.int16)
    inner = tuple(slice(margin, size - margin) for size in shape)
    image[inner] = rng.integers(-200, 900, image[inner].shape)
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(size // 3, 2 * size // 3) for size in shape)] = rng.integers(
        0, 3, [2 * size // 3 - size // 3 for size in shape]
    )
    return image, label


# Bins and boxes


@given(
    arrays.arrays(
        np.float32,
        st.integers(1, 40),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_bins_equal_the_public_rule(values):
    assert intensity_bins(values).tolist() == [intensity_bin(float(value)) for value in values]


@pytest.mark.nnunet
@settings(deadline=None, max_examples=150)
@given(
    arrays.arrays(
        np.int8,
        st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
        elements=st.sampled_from([0, 0, 0, 1]),
    ),
    st.integers(0, 2**32 - 1),
)
def test_box_and_foreground_are_those_of_crop_to_nonzero(images, seed):
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    label = np.random.default_rng(seed).integers(0, 3, images.shape[1:]).astype(np.float32)
    cropped, cropped_label, _ = crop_to_nonzero(images.astype(np.float32), label[None].copy())
    box = nonzero_box(images)
    np.testing.assert_array_equal(images[(slice(None), *box)], cropped)
    np.testing.assert_array_equal(label[box] > 0, cropped_label[0] > 0)


def test_box_of_an_image_without_channels_is_refused():
    with pytest.raises(ValueError, match="without channels"):
        nonzero_box([])


# Statistics


def test_statistics_are_exact_over_block_borders(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 7)
    values = np.random.default_rng(1).normal(300, 200, 100).astype(np.float32)
    found = channel_statistics(values)
    assert found.voxels == 100
    assert found.mean == pytest.approx(values.astype(np.float64).mean(), rel=1e-14)
    assert found.mean_square == pytest.approx(
        np.square(values.astype(np.float64)).mean(), rel=1e-14
    )
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    expected = {}
    for value in values:
        number = intensity_bin(float(value))
        expected[number] = expected.get(number, 0) + 1
    assert found.histogram == tuple(sorted(expected.items()))
    assert all(0 <= number < INTENSITY_BINS for number, _ in found.histogram)


def test_statistics_of_nothing_weigh_nothing():
    found = channel_statistics(np.empty(0, np.int16))
    assert (found.voxels, found.mean, found.histogram) == (0, 0.0, ())


# Against the stock extractor


@pytest.mark.nnunet
@pytest.mark.parametrize(
    ("shape", "channels", "margin", "dtype"),
    [
        ((9, 14, 12), 1, 0, np.int16),
        ((9, 14, 12), 2, 2, np.float32),
        ((7, 10, 11), 1, 2, np.float64),
        ((21, 20), 1, 3, np.int16),
    ],
    ids=["3d", "two channels, margins", "double", "2d"],
)
def test_case_equals_the_stock_extractor(tmp_path, shape, channels, margin, dtype):
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    rng = np.random.default_rng(5)
    images, labels = zip(*(_blob(rng, shape, margin) for _ in range(channels)), strict=True)
    images = [image.astype(dtype) * (1 if dtype is np.int16 else 0.37) for image in images]
    case = _case(tmp_path, "one", images, labels[0], (0.7, 0.9, 2.5)[: len(shape)])
    found = extract_case(case, channels)
    stock_shape, stock_spacing, _, statistics, relative = DatasetFingerprintExtractor.analyze_case(
        list(case.channels), case.label, SimpleITKIO
    )
    assert found.shape == tuple(stock_shape)
    assert found.spacing_mm == tuple(stock_spacing)
    assert found.relative_size == relative
    for mine, theirs in zip(found.channels, statistics, strict=True):
        assert mine.mean == pytest.approx(theirs["mean"], rel=1e-5)
        assert (mine.minimum, mine.maximum) == (theirs["min"], theirs["max"])
        numbers = np.repeat(*np.array(mine.histogram).T)
        assert numbers[len(numbers) // 2] == pytest.approx(
            intensity_bin(theirs["median"]), abs=2000
        )
        assert len(numbers) == mine.voxels


@pytest.mark.nnunet
def test_the_ignore_label_is_foreground_as_in_stock(tmp_path):
    image = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    label = np.zeros_like(image, np.uint8)
    label[1, 1, 1], label[2, 2, 2] = 1, 3  # 3 would be "ignore" in dataset.json
    found = extract_case(_case(tmp_path, "one", [image], label), 1)
    assert found.channels[0].voxels == 2


# The whole folder


def test_extract_keeps_order_and_reports_progress(tmp_path):
    rng = np.random.default_rng(2)
    pairs = [_blob(rng, (6, 7, 8), 1) for _ in range(5)]
    cases = [_case(tmp_path, f"c{n}", [image], label) for n, (image, label) in enumerate(pairs)]
    told = []
    result = extract(
        _folder(tmp_path, cases),
        content_digest="d" * 64,
        leave_out=frozenset({"c3"}),
        processes=2,
        progress=lambda *words: told.append(words),
    )
    assert [case.case for case in result.cases] == ["c0", "c1", "c2", "c4"]
    assert told == [(done, 4, "reading cases") for done in range(5)]
    assert result == extract(
        _folder(tmp_path, cases), content_digest="d" * 64, leave_out=frozenset({"c3"})
    )
    assert not [t for t in threading.enumerate() if t.name.startswith("fingerprint")]


def test_stop_ends_it_between_cases(tmp_path):
    rng = np.random.default_rng(2)
    pairs = [_blob(rng, (6, 7, 8), 1) for _ in range(4)]
    cases = [_case(tmp_path, f"c{n}", [image], label) for n, (image, label) in enumerate(pairs)]
    done = []
    with pytest.raises(JobFailed, match="stopped") as caught:
        extract(
            _folder(tmp_path, cases),
            content_digest="",
            progress=lambda count, _total, _what: done.append(count),
            stopped=lambda: done[-1] >= 2,
        )
    assert caught.value.code is ErrorCode.JOB_STOPPED
    assert done == [0, 1, 2]


def test_no_foreground_anywhere_is_refused_but_one_empty_case_is_not(tmp_path):
    image, label = _blob(np.random.default_rng(2), (6, 7, 8), 1)
    empty = _case(tmp_path, "empty", [image], np.zeros_like(label))
    full = _case(tmp_path, "full", [image], label)
    result = extract(_folder(tmp_path, [empty, full]), content_digest="")
    assert [case.channels[0].voxels > 0 for case in result.cases] == [False, True]
    with pytest.raises(DataProblem) as caught:
        extract(_folder(tmp_path, [empty]), content_digest="")
    assert caught.value.code is ErrorCode.NO_FOREGROUND
    with pytest.raises(DataProblem) as caught:
        extract(_folder(tmp_path, [empty]), content_digest="", leave_out=frozenset({"empty"}))
    assert caught.value.code is ErrorCode.TOO_FEW_CASES


# Errors name the case


def _shapes(tmp_path):
    image, _ = _blob(np.random.default_rng(2), (6, 7, 8), 1)
    return _case(tmp_path, "liver_07", [image], np.zeros((6, 7, 9), np.uint8))


def _truncated(tmp_path):
    image, label = _blob(np.random.default_rng(2), (6, 7, 8), 1)
    case = _case(tmp_path, "liver_07", [image], label)
    (tmp_path / "liver_07_0000.nii.gz").write_bytes(b"\x1f\x8b not an image")
    return case


def _not_finite(tmp_path):
    image, label = _blob(np.random.default_rng(2), (6, 7, 8), 1)
    image = image.astype(np.float32)
    image[3, 3, 3] = np.nan
    # ITK reads a NaN of a NIfTI file as 0, so another format has to carry it.
    path = _write(tmp_path / "liver_07_0000.mha", image)
    return replace(_case(tmp_path, "liver_07", [image], label), channels=(path,))


def _spacings(tmp_path):
    image, label = _blob(np.random.default_rng(2), (6, 7, 8), 1)
    case = _case(tmp_path, "liver_07", [image, image], label)
    _write(tmp_path / "liver_07_0001.nii.gz", image, (1.0, 1.0, 2.0))
    return case


def _unlabelled(tmp_path):
    image, _ = _blob(np.random.default_rng(2), (6, 7, 8), 1)
    path = _write(tmp_path / "a.nii.gz", image)
    return Case(name="liver_07", channels=(path,), label=None)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            _shapes,
            "case liver_07: images have 6 x 7 x 8 voxels, another channel or the label has 6 x 7 x 9",
        ),
        (_truncated, "case liver_07: liver_07_0000.nii.gz cannot be read as an image"),
        (_not_finite, "case liver_07: liver_07_0000.mha holds values that are not finite numbers"),
        (_spacings, "the channels of case liver_07 differ in spacing"),
        (_unlabelled, "case liver_07 has no label"),
    ],
)
def test_errors_name_the_case(tmp_path, make, sentence, capfd):
    case = make(tmp_path)
    with pytest.raises(DataProblem) as caught:
        extract(_folder(tmp_path, [case], ("MRI",) * len(case.channels)), content_digest="")
    assert str(caught.value) == sentence


def test_too_few_channels_is_refused(tmp_path):
    image, label = _blob(np.random.default_rng(2), (6, 7, 8), 1)
    with pytest.raises(DataProblem, match="has 1 channels, the dataset has 2"):
        extract_case(_case(tmp_path, "one", [image], label), 2)
