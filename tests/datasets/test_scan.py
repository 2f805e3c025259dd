"""Folders that are recognised, and one sentence and code for each that is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.image_folders import ImageFolder, shared_data, write_image

from app.datasets.scan import Stray, StrayKind, scan, survey, unlabelled_cases
from app.domain.dataset import Case, DatasetDescription
from app.domain.errors import DataProblem, ErrorCode


def refused(folder: Path, code: ErrorCode) -> str:
    with pytest.raises(DataProblem) as problem:
        scan(folder)
    assert problem.value.code is code
    assert problem.value.remedy
    return str(problem.value)


def test_nnunets_own_layout(tmp_path):
    folder = ImageFolder(tmp_path, cases=2)
    folder.add_case("case_100", seed=100, test=True)
    folder.add_case("case_101", seed=101, test=True)
    folder.label("case_101", "labelsTs").unlink()
    dataset = scan(tmp_path)
    assert dataset.layout == "nnunet"
    assert dataset.root == str(tmp_path)
    assert dataset.description == DatasetDescription(
        channel_names=("T1", "T2"), labels=folder.labels, file_ending=".nii.gz"
    )
    assert dataset.training == tuple(
        Case(
            name=name,
            channels=(str(folder.image(name, 0)), str(folder.image(name, 1))),
            label=str(folder.label(name)),
        )
        for name in ("case_000", "case_001")
    )
    assert [(c.name, c.label) for c in dataset.held_out] == [
        ("case_100", str(folder.label("case_100", "labelsTs"))),
        ("case_101", None),
    ]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".gipl"])
def test_every_file_ending_is_scanned(tmp_path, ending):
    folder = ImageFolder(tmp_path, cases=1, file_ending=ending)
    (case,) = scan(tmp_path).training
    assert case.channels == (str(folder.image("case_000", 0)), str(folder.image("case_000", 1)))
    assert all(Path(path).is_file() for path in (*case.channels, case.label))


def test_missing_files_are_listed_where_they_should_lie(tmp_path):
    folder = ImageFolder(tmp_path, cases=1)
    folder.image("case_000", 1).unlink()
    folder.label("case_000").unlink()
    (case,) = scan(tmp_path).training
    assert case.channels[1] == str(folder.image("case_000", 1))
    assert case.label == str(folder.label("case_000"))


def test_files_that_belong_to_no_case(tmp_path):
    folder = ImageFolder(tmp_path, cases=1)
    shutil.copy(folder.image("case_000"), folder.image("case_000", 2))
    shutil.copy(folder.label("case_000"), folder.label("case_009"))
    shutil.copy(folder.image("case_000"), tmp_path / "imagesTr" / "odd.nii.gz")
    (tmp_path / "imagesTr" / ".DS_Store").write_text("hidden")
    (tmp_path / "imagesTr" / "notes.txt").write_text("not an image")
    assert sorted(survey(tmp_path).strays, key=lambda stray: stray.path) == [
        Stray(kind=StrayKind.EXTRA_CHANNEL, path=str(folder.image("case_000", 2)), case="case_000"),
        Stray(
            kind=StrayKind.NO_CHANNEL_NUMBER,
            path=str(tmp_path / "imagesTr" / "odd.nii.gz"),
            case="odd",
        ),
        Stray(
            kind=StrayKind.LABEL_WITHOUT_IMAGE, path=str(folder.label("case_009")), case="case_009"
        ),
    ]


def test_cases_that_dataset_json_lists(tmp_path):
    folder = ImageFolder(tmp_path / "source", cases=1)
    root = tmp_path / "listing"
    root.mkdir()
    document = json.loads((folder.root / "dataset.json").read_text())
    document["dataset"] = {
        "first": {
            "images": ["../source/imagesTr/case_000_0000.nii.gz", str(folder.image("case_000", 1))],
            "label": "../source/labelsTr/case_000.nii.gz",
        }
    }
    (root / "dataset.json").write_text(json.dumps(document))
    dataset = scan(root)
    assert dataset.layout == "nnunet-map"
    assert dataset.training == (
        Case(
            name="first",
            channels=(str(folder.image("case_000", 0)), str(folder.image("case_000", 1))),
            label=str(folder.label("case_000")),
        ),
    )


def test_the_decathlons_layout(tmp_path):
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        write_image(tmp_path / part / "hippocampus_001.nii.gz", np.zeros((2, 3, 4), np.uint8))
    (tmp_path / "dataset.json").write_text(
        json.dumps(
            {
                "modality": {"0": "MRI"},
                "labels": {"0": "background", "1": "Anterior"},
                "training": [
                    {
                        "image": "./imagesTr/hippocampus_001.nii.gz",
                        "label": "./labelsTr/hippocampus_001.nii.gz",
                    }
                ],
                "test": ["./imagesTs/hippocampus_001.nii.gz"],
            }
        )
    )
    dataset = scan(tmp_path)
    assert dataset.layout == "decathlon"
    (case,) = dataset.training
    assert case.channels == (str(tmp_path / "imagesTr" / "hippocampus_001.nii.gz"),)
    assert [case.label for case in dataset.held_out] == [None]


# Folders that cannot be used.


def test_a_missing_folder(tmp_path):
    missing = tmp_path / "gone"
    assert refused(missing, ErrorCode.FOLDER_MISSING) == f"there is no folder {missing}"


def test_a_file_instead_of_a_folder(tmp_path):
    file = tmp_path / "image.nii.gz"
    file.write_text("x")
    assert refused(file, ErrorCode.FOLDER_IS_FILE) == f"{file} is a file, not a folder"


@pytest.mark.parametrize("hidden", [False, True])
def test_an_empty_folder(tmp_path, hidden):
    if hidden:
        (tmp_path / ".DS_Store").write_text("x")
    assert refused(tmp_path, ErrorCode.FOLDER_EMPTY) == f"{tmp_path} is empty"


@pytest.mark.parametrize("part", ["", "imagesTr", "labelsTr"])
def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch, part):
    ImageFolder(tmp_path, cases=1)
    closed, scandir = tmp_path / part, os.scandir

    def refuse(folder):
        if Path(folder) == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert (
        refused(tmp_path, ErrorCode.FOLDER_NOT_READABLE) == f"the folder {closed} may not be read"
    )


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_bits(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    refused(closed, ErrorCode.FOLDER_NOT_READABLE)


def test_a_disk_that_fails(tmp_path, monkeypatch):
    def fail(_folder):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", fail)
    assert refused(tmp_path, ErrorCode.FOLDER_NOT_READABLE) == (
        f"the folder {tmp_path} cannot be read: the disk reports “Input/output error”"
    )


def test_no_dataset_json(tmp_path):
    ImageFolder(tmp_path, cases=1)
    (tmp_path / "dataset.json").unlink()
    assert (
        refused(tmp_path, ErrorCode.DESCRIPTION_MISSING)
        == f"{tmp_path} has imagesTr but no dataset.json"
    )


def test_a_malformed_dataset_json(tmp_path):
    folder = ImageFolder(tmp_path, cases=1)
    folder.describe(labels=None)
    assert refused(tmp_path, ErrorCode.DATASET_DESCRIPTION) == "dataset.json: “labels” is missing"


def test_no_images_folder(tmp_path):
    folder = ImageFolder(tmp_path, cases=1)
    shutil.rmtree(tmp_path / "imagesTr")
    assert folder.root == tmp_path
    assert (
        refused(tmp_path, ErrorCode.FOLDER_LAYOUT)
        == f"{tmp_path} has a dataset.json but no folder imagesTr"
    )


def test_no_cases(tmp_path):
    folder = ImageFolder(tmp_path, cases=1)
    folder.describe(file_ending=".nrrd")
    assert (
        refused(tmp_path, ErrorCode.NO_CASES)
        == f"{tmp_path / 'imagesTr'} holds no image that ends on _0000.nrrd"
    )


def test_the_folder_below_or_above_was_meant(tmp_path):
    ImageFolder(tmp_path / "Dataset001_Liver", cases=1)
    assert refused(tmp_path, ErrorCode.FOLDER_LAYOUT) == (
        f"{tmp_path} holds 1 dataset(s); choose one of them, e.g. Dataset001_Liver"
    )
    inside = tmp_path / "Dataset001_Liver" / "imagesTr"
    assert refused(inside, ErrorCode.FOLDER_LAYOUT) == (
        f"{inside} is only one part of a dataset; choose {inside.parent} instead"
    )


def test_images_without_any_label(tmp_path):
    write_image(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.uint8))
    assert (
        refused(tmp_path, ErrorCode.FOLDER_LAYOUT)
        == f"{tmp_path} holds images, but no file in it can be told to be a label"
    )


def test_only_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert (
        refused(tmp_path, ErrorCode.FOLDER_LAYOUT)
        == f"{tmp_path} holds no images in a format that nnU-Net reads"
    )


def test_only_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    assert refused(tmp_path, ErrorCode.FOLDER_LAYOUT) == f"{tmp_path} holds folders but no files"


def test_dicom_without_labels():
    folder = shared_data("dicom")
    assert refused(folder, ErrorCode.FOLDER_LAYOUT) == (
        f"{folder} holds 151 DICOM files in 5 folder(s) but no labels that nnU-Net reads"
    )


# Loose layouts: a description is proposed.


def pair(folder: Path, name: str, label: np.ndarray, *, lowest: int = 0) -> None:
    image = np.random.default_rng(0).integers(lowest, 900, label.shape).astype(np.int16)
    write_image(folder / f"{name}.nii.gz", image)
    write_image(folder / f"{name}_seg.nii.gz", label)


def values(*found: int) -> np.ndarray:
    array = np.zeros((3, 4, 5), np.uint8)
    array.ravel()[: len(found)] = found
    return array


@pytest.mark.parametrize(
    ("found", "labels"),
    [
        ((1, 2), {"background": 0, "label 1": 1, "label 2": 2}),
        ((1, 3), {"background": 0, "label 1": 1, "label 2": 2, "label 3": 3}),
        ((255,), {"background": 0, "label 1": 1}),
    ],
)
def test_labels_are_proposed_from_what_is_found(tmp_path, found, labels):
    pair(tmp_path, "p1", values(1))
    pair(tmp_path, "p2", values(*found))
    dataset = scan(tmp_path)
    assert dataset.layout == "pairs"
    assert dataset.description.labels == labels
    assert dataset.description.file_ending == ".nii.gz"


@pytest.mark.parametrize(("lowest", "channel"), [(0, "MRI"), (-1000, "CT")])
def test_a_ct_is_told_by_its_air(tmp_path, lowest, channel):
    pair(tmp_path, "p1", values(1), lowest=lowest)
    assert scan(tmp_path).description.channel_names == (channel,)


def test_a_confirmed_description_replaces_the_proposed_one(tmp_path):
    pair(tmp_path, "p1", values(1))
    confirmed = DatasetDescription(
        channel_names=("FLAIR",), labels={"background": 0, "lesion": 1}, file_ending=""
    )
    description = scan(tmp_path, description=confirmed).description
    assert (description.channel_names, description.labels, description.file_ending) == (
        ("FLAIR",),
        {"background": 0, "lesion": 1},
        ".nii.gz",
    )


def test_a_confirmed_description_with_another_number_of_channels(tmp_path):
    pair(tmp_path, "p1", values(1))
    confirmed = DatasetDescription(
        channel_names=("T1", "T2"), labels={"background": 0, "lesion": 1}, file_ending=""
    )
    with pytest.raises(DataProblem) as problem:
        scan(tmp_path, description=confirmed)
    assert str(problem.value) == f"{tmp_path} has 1 channel(s) (image), but 2 are expected (T1, T2)"


def test_a_missing_label_is_expected_where_the_others_lie(tmp_path):
    for name in ("a_1", "a_2"):
        write_image(tmp_path / "images" / f"{name}.nii.gz", values(9))
    write_image(tmp_path / "labels" / "a_1.nii.gz", values(1))
    labels = {case.name: case.label for case in scan(tmp_path).training}
    assert labels["a_2"] == str(tmp_path / "labels" / "a_2.nii.gz")


def test_real_pairs():
    dataset = scan(shared_data("formats"))
    assert dataset.layout == "pairs"
    assert [case.name for case in dataset.training] == ["brain1", "breast1"]


def test_real_two_folders():
    dataset = scan(shared_data("hippocampus"))
    assert dataset.layout == "two-folders"
    assert len(dataset.training) == 221
    assert dataset.description.labels == {"background": 0, "label 1": 1, "label 2": 2}


# Images to segment.


def test_images_to_segment_by_channel_number(tmp_path):
    folder = ImageFolder(tmp_path, cases=2)
    assert unlabelled_cases(tmp_path / "imagesTr") == tuple(
        Case(
            name=name,
            channels=(str(folder.image(name, 0)), str(folder.image(name, 1))),
            label=None,
        )
        for name in ("case_000", "case_001")
    )


def test_images_to_segment_without_numbers():
    cases = unlabelled_cases(shared_data("hippocampus", "images"))
    assert len(cases) == 221
    assert cases[0].name == "hippocampus_004"


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (
            lambda f: f.image("case_001", 0).unlink(),
            "case case_001 in {0} has no channel 0000; others have 2",
        ),
        (
            lambda f: [p.unlink() for p in (f.root / "imagesTr").iterdir()],
            "{0} holds no image in a format that nnU-Net reads",
        ),
    ],
)
def test_images_that_cannot_be_segmented(tmp_path, break_it, sentence):
    break_it(ImageFolder(tmp_path, cases=2))
    with pytest.raises(DataProblem) as problem:
        unlabelled_cases(tmp_path / "imagesTr")
    assert str(problem.value) == sentence.format(tmp_path / "imagesTr")
