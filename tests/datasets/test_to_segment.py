"""What can be segmented in a folder: data sets, loose images, DICOM series."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom_files import SECRETS, DicomStudy, box, noise
from helpers.volumes import CHANNEL, LABELS, write_dataset

from app.datasets.confirmed import confirm, propose
from app.datasets.images import read_volume
from app.datasets.to_segment import cases_to_segment, slices_of_confirmed
from app.domain.errors import DataProblem, ErrorCode, JobFailed

SHAPE = (8, 20, 24)


def test_a_data_set_brings_its_labels(tmp_path):
    folder = write_dataset(tmp_path / "data")
    found = cases_to_segment(folder, tmp_path / "w", channel_names=(CHANNEL,))
    assert found.labels == LABELS
    assert all(case.label for case in found.cases)
    assert not (tmp_path / "w").exists()


def test_loose_images_are_cases_by_their_names(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    found = cases_to_segment(tmp_path, tmp_path / "w", channel_names=("MRI",))
    assert [(case.name, case.label) for case in found.cases] == [("a", None), ("b", None)]
    assert found.labels is None


def test_every_series_is_a_case_of_a_model_with_one_channel(tmp_path):
    source = tmp_path / "ward"
    arrays = [noise(SHAPE), noise((5, 20, 24))]
    for number, array in enumerate(arrays):
        DicomStudy(source / f"patient{number}").series("ct", array)
    found = cases_to_segment(source, tmp_path / "w", channel_names=("CT",))
    assert [case.name for case in found.cases] == ["case-0001", "case-0002"]
    assert found.origins == {"case-0001": "patient0/ct", "case-0002": "patient1/ct"}
    for case, array in zip(found.cases, arrays, strict=True):
        assert (read_volume(tmp_path.joinpath(case.channels[0])).array == array).all()
        assert len(found.slices[case.name]) == len(array)
        raw = (tmp_path / case.channels[0]).read_bytes()
        assert not any(secret in raw for secret in SECRETS)
    # A second look converts nothing again.
    made = [Path(case.channels[0]).stat().st_mtime_ns for case in found.cases]
    again = cases_to_segment(source, tmp_path / "w", channel_names=("CT",))
    assert again == found
    assert [Path(case.channels[0]).stat().st_mtime_ns for case in again.cases] == made


def test_several_channels_are_found_by_what_they_are(tmp_path):
    study = DicomStudy(tmp_path / "head")
    for name in ("t2_flair", "t1_mprage"):
        study.series(name, noise(SHAPE), modality="MR", description=name)
    found = cases_to_segment(tmp_path / "head", tmp_path / "w", channel_names=("T1", "FLAIR"))
    [case] = found.cases
    assert len(case.channels) == 2
    assert found.origins == {"case-0001": "t1_mprage"}
    with pytest.raises(DataProblem, match=r"fits a model of 2 channel\(s\) \(T1, ADC\)"):
        cases_to_segment(tmp_path / "head", tmp_path / "x", channel_names=("T1", "ADC"))


def test_an_unusable_series_is_named(tmp_path):
    DicomStudy(tmp_path / "a").series("ct", noise(SHAPE), leave_out=(3,))
    with pytest.raises(DataProblem, match="slices are missing"):
        cases_to_segment(tmp_path / "a", tmp_path / "w", channel_names=("CT",))


def test_a_folder_with_nothing_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear colleague")
    with pytest.raises(DataProblem) as caught:
        cases_to_segment(tmp_path, tmp_path / "w", channel_names=("CT",))
    assert caught.value.code is ErrorCode.NO_CASES


def test_it_stops_when_asked(tmp_path):
    DicomStudy(tmp_path / "a").series("ct", noise(SHAPE))
    with pytest.raises(JobFailed) as caught:
        cases_to_segment(
            tmp_path / "a", tmp_path / "w", channel_names=("CT",), stopped=lambda: True
        )
    assert caught.value.code is ErrorCode.JOB_STOPPED


def test_the_slices_of_a_confirmed_data_set_are_found_again(tmp_path):
    source, workspace = tmp_path / "source", tmp_path / "workspace"
    written = {}
    for name in ("one", "two"):
        study = DicomStudy(source / name)
        images = study.series("ct", noise(SHAPE))
        study.segmentation("seg.dcm", images, {"liver": box(SHAPE, (2, 5), (5, 12), (3, 9))})
        written[name] = images
    confirmation = confirm(source, propose(source), workspace)
    slices = slices_of_confirmed(workspace)
    assert slices.keys() == {case.name for case in confirmation.cases}
    names = json.loads((workspace / "dataset.json").read_text())["dataset"]
    for case, paths in slices.items():
        array = read_volume(workspace / names[case]["images"][0]).array
        assert array.shape[0] == len(paths) == SHAPE[0]
        assert np.array_equal(array, noise(SHAPE))
    assert slices_of_confirmed(source) == {}
